//! Users and groups of this machine: names → numbers, from `/etc/passwd` and `/etc/group` (passwd(5), group(5)).
//!
//! Directory services (LDAP, NSS modules) are not asked; their users are given by number.

use std::fs;

/// The number of the user of this name, or the number that was given.
pub(super) fn user(name: &str) -> Option<u32> {
    number("/etc/passwd", name)
}

/// The number of the group of this name, or the number that was given.
pub(super) fn group(name: &str) -> Option<u32> {
    number("/etc/group", name)
}

fn number(database: &str, name: &str) -> Option<u32> {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return name.parse().ok();
    }
    // Names need not be UTF-8 in there; one that is not is no name we could be asked for.
    let database = fs::read(database).ok()?;
    find(&String::from_utf8_lossy(&database), name)
}

/// Both databases have the name in the first of their fields and the number in the third.
fn find(database: &str, name: &str) -> Option<u32> {
    database.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        fields.nth(1).filter(|_| found)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_the_database_and_numbers_taken_as_they_are() {
        let database = "root:x:0:0:root:/root:/bin/sh\nairlay:x:994:990::/:/bin/false\nbad\n\nbroken:x:y:\n";
        assert_eq!(find(database, "airlay"), Some(994));
        assert_eq!(find(database, "air"), None);
        assert_eq!(find(database, "bad"), None);
        assert_eq!(find(database, "broken"), None);
        assert_eq!(find(database, ""), None);
        assert_eq!(user("4294967294"), Some(4_294_967_294));
        assert_eq!(user("root"), Some(0));
        assert_eq!(user("no such user"), None);
        assert_eq!(user(""), None);
    }
}
