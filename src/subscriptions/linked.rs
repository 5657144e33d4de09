//! Intrusive doubly linked lists of items in a slab: push and unlink are O(1) and do not allocate; each list costs an item
//! eight bytes.

use slab::Slab;
use std::num::NonZeroU32;

/// An item's place in its slab. Never zero, so that `Option<Key>` is four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(NonZeroU32);

impl Key {
    /// The key of the item at `index`.
    ///
    /// # Panics
    ///
    /// `index` is 2³² - 1 or more, which memory cannot hold of any kind of item.
    pub(super) fn new(index: usize) -> Self {
        let key = u32::try_from(index).ok().and_then(|index| index.checked_add(1)).and_then(NonZeroU32::new);
        Self(key.expect("fewer than 2^32 - 1 items"))
    }

    /// The item's index in its slab.
    pub(super) const fn index(self) -> usize {
        (self.0.get() - 1) as usize
    }
}

/// The first item of a list.
pub(super) type Head = Option<Key>;

/// An item's neighbours in one list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Links {
    pub(super) next: Option<Key>,
    previous: Option<Key>,
}

/// Pushes the item `key` to the front of the list `head`. `links` selects the links that belong to this list.
pub(super) fn push_front<T>(items: &mut Slab<T>, head: &mut Head, key: Key, links: fn(&mut T) -> &mut Links) {
    if let Some(next) = *head {
        links(&mut items[next.index()]).previous = Some(key);
    }
    *links(&mut items[key.index()]) = Links { next: *head, previous: None };
    *head = Some(key);
}

/// Removes the item `key` from the list `head`.
pub(super) fn unlink<T>(items: &mut Slab<T>, head: &mut Head, key: Key, links: fn(&mut T) -> &mut Links) {
    let Links { next, previous } = std::mem::take(links(&mut items[key.index()]));
    match previous {
        Some(previous) => links(&mut items[previous.index()]).next = next,
        None => *head = next,
    }
    if let Some(next) = next {
        links(&mut items[next.index()]).previous = previous;
    }
}
