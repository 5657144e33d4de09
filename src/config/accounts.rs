//! Users and groups of this machine: names → ids, from `/etc/passwd` and `/etc/group` (passwd(5), group(5)).
//!
//! Directory services (LDAP, other NSS modules) are not queried; their users and groups can be given by number.

use std::fs;

/// The id of the user with this name, or the number itself if `name` is one. `None` if there is no such user.
pub(super) fn user(name: &str) -> Option<u32> {
    number("/etc/passwd", name)
}

/// The id of the group with this name, or the number itself if `name` is one. `None` if there is no such group.
pub(super) fn group(name: &str) -> Option<u32> {
    number("/etc/group", name)
}

fn number(database: &str, name: &str) -> Option<u32> {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return name.parse().ok();
    }
    // Other names in the file need not be UTF-8; `name` is, so a lossy conversion cannot hide it.
    let database = fs::read(database).ok()?;
    find(&String::from_utf8_lossy(&database), name)
}

/// Both files have the name in the first field and the id in the third.
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
    fn names_are_looked_up_and_numbers_kept() {
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
