//! Parses the values of HTTP header fields: tokens, quoted strings and lists (RFC 9110 §5.6), in one pass.
//!
//! It must not know which fields exist.

use std::borrow::Cow;

/// The value violates the grammar of its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The unread rest of a value.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'a>(&'a [u8]);

impl<'a> Lexer<'a> {
    pub(super) const fn new(value: &'a [u8]) -> Self {
        Self(value)
    }

    /// Skips white space, then consumes `byte` if it is next.
    pub(super) fn accept(&mut self, byte: u8) -> bool {
        self.0 = self.0.trim_ascii_start();
        match self.0.split_first() {
            Some((&first, rest)) if first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// Skips white space; returns whether nothing is left.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.0 = self.0.trim_ascii_start();
        self.0.is_empty()
    }

    /// Skips white space, then reads a token.
    pub(super) fn token(&mut self) -> Result<&'a [u8], Malformed> {
        self.0 = self.0.trim_ascii_start();
        let length = self.0.iter().position(|&byte| !is_token(byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(length);
        self.0 = rest;
        if token.is_empty() { Err(Malformed) } else { Ok(token) }
    }

    /// Reads a token, or a quoted string that contains one (RFC 6455 §9.1).
    pub(super) fn token_or_quoted(&mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        if !self.accept(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut token = Vec::new();
        loop {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            match byte {
                b'"' if token.is_empty() => return Err(Malformed),
                b'"' => return Ok(Cow::Owned(token)),
                b'\\' => {
                    let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
                    self.0 = rest;
                    token.push(byte);
                }
                byte => token.push(byte),
            }
            if !token.last().is_some_and(|&byte| is_token(byte)) {
                return Err(Malformed);
            }
        }
    }
}

/// Whether the list `value` contains `token`, ignoring case.
pub(super) fn list_contains(value: &[u8], token: &str) -> bool {
    value.split(|&byte| byte == b',').any(|member| member.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Checks that `value` is a list of tokens.
pub(super) fn check_list(value: &[u8]) -> Result<(), Malformed> {
    let mut lexer = Lexer::new(value);
    loop {
        lexer.token()?;
        if lexer.is_at_end() {
            return Ok(());
        }
        if !lexer.accept(b',') {
            return Err(Malformed);
        }
    }
}

/// The values of all fields named `name` (in lower case) in a well-formed head, in order.
pub(super) fn values<'h>(head: &'h [u8], name: &str) -> impl DoubleEndedIterator<Item = &'h [u8]> {
    let fields = head.iter().position(|&byte| byte == b'\n').map_or(&[][..], |end| &head[end + 1..]);
    fields.split(|&byte| byte == b'\n').filter_map(move |line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (field, value) = line.split_at(colon);
        field.eq_ignore_ascii_case(name.as_bytes()).then(|| value[1..].trim_ascii())
    })
}

/// Whether a token may contain this byte (RFC 9110 §5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_the_rfc() {
        let expected = b"!#$%&'*+-.^_`|~";
        for byte in 0..=u8::MAX {
            assert_eq!(is_token(byte), byte.is_ascii_alphanumeric() || expected.contains(&byte), "{byte}");
        }
    }

    #[test]
    fn a_quoted_string_must_contain_a_token() {
        for (value, expected) in [
            ("abc;", Ok("abc")),
            (" \"abc\"", Ok("abc")),
            ("\"a\\bc\"", Ok("abc")),
            ("\"\"", Err(Malformed)),
            ("\"abc", Err(Malformed)),
            ("\"abc\\", Err(Malformed)),
            ("\"a b\"", Err(Malformed)),
            ("\"a\\\"b\"", Err(Malformed)),
            (";", Err(Malformed)),
        ] {
            let read = Lexer::new(value.as_bytes()).token_or_quoted();
            assert_eq!(read.as_deref(), expected.map(str::as_bytes).as_ref().copied(), "{value}");
        }
    }

    #[test]
    fn lists() {
        assert!(list_contains(b"keep-alive, Upgrade", "upgrade"));
        assert!(!list_contains(b"keep-alive, Upgraded", "upgrade"));
        assert_eq!(check_list(b"chat, superchat"), Ok(()));
        for wrong in ["", ",", "a,", "a b", "a;b", "\"a\"", "a,,b"] {
            assert_eq!(check_list(wrong.as_bytes()), Err(Malformed), "{wrong}");
        }
    }

    #[test]
    fn fields_are_found_by_name_in_their_order() {
        let head = b"GET /a:b HTTP/1.1\r\nGET /a: no\r\nA: 1\r\nB:2\r\na:\t3 \r\nAA: 4\r\n\r\n";
        assert_eq!(values(head, "a").collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!(values(head, "a").rev().collect::<Vec<_>>(), [b"3", b"1"]);
        assert_eq!(values(head, "c").count(), 0);
    }
}
