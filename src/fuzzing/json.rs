//! The reference for JSON (RFC 8259): a tree that keeps the source text of every member. Simple, not fast.

/// Deepest nesting of arrays and objects; the outermost is level 1.
const MOST_LEVELS: usize = 128;

/// A value and its source text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Json<'a> {
    pub(crate) text: &'a str,
    pub(crate) content: Content<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    Null,
    Bool,
    Number,
    /// `None` if it contains the escape of an unpaired surrogate, which no Unicode text can hold.
    String(Option<String>),
    Array(Vec<Json<'a>>),
    Object(Vec<(Option<String>, Json<'a>)>),
}

/// The text is not JSON, or nests deeper than 128 levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

impl<'a> Json<'a> {
    /// Parses a complete text.
    pub(crate) fn parse(text: &'a str) -> Result<Self, NotJson> {
        let mut parser = Parser { text, at: 0 };
        parser.skip_space();
        let value = parser.value(0)?;
        parser.skip_space();
        if parser.at == text.len() { Ok(value) } else { Err(NotJson) }
    }

    /// The values of all members named `wanted`. Fails if this is not an object, or if a name contains an unpaired
    /// surrogate.
    pub(crate) fn members(&self, wanted: &str) -> Result<Vec<&Self>, NotJson> {
        let Content::Object(members) = &self.content else { return Err(NotJson) };
        if members.iter().any(|(name, _)| name.is_none()) {
            return Err(NotJson);
        }
        Ok(members
            .iter()
            .filter(|(name, _)| name.as_deref() == Some(wanted))
            .map(|(_, value)| value)
            .collect())
    }

    pub(crate) fn is_null(&self) -> bool {
        self.content == Content::Null
    }

    /// The value, if this is a string without unpaired surrogates.
    pub(crate) fn string(&self) -> Option<&str> {
        match &self.content {
            Content::String(text) => text.as_deref(),
            _ => None,
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, wanted: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
        self.at - start
    }

    fn skip_space(&mut self) {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn expect(&mut self, wanted: &str) -> Result<(), NotJson> {
        let found = self.text.as_bytes()[self.at..].starts_with(wanted.as_bytes());
        self.at += wanted.len();
        if found { Ok(()) } else { Err(NotJson) }
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, NotJson> {
        let start = self.at;
        let content = match self.peek().ok_or(NotJson)? {
            b'n' => self.expect("null").map(|()| Content::Null)?,
            b't' => self.expect("true").map(|()| Content::Bool)?,
            b'f' => self.expect("false").map(|()| Content::Bool)?,
            b'"' => Content::String(self.string()?),
            b'[' | b'{' if depth == MOST_LEVELS => return Err(NotJson),
            b'[' => {
                let mut elements = Vec::new();
                self.list("[", "]", |parser| parser.value(depth + 1).map(|element| elements.push(element)))?;
                Content::Array(elements)
            }
            b'{' => {
                let mut members = Vec::new();
                self.list("{", "}", |parser| {
                    let name = parser.string()?;
                    parser.skip_space();
                    parser.expect(":")?;
                    parser.skip_space();
                    parser.value(depth + 1).map(|value| members.push((name, value)))
                })?;
                Content::Object(members)
            }
            _ => self.number().map(|()| Content::Number)?,
        };
        Ok(Json { text: &self.text[start..self.at], content })
    }

    fn list(
        &mut self,
        opening: &str,
        closing: &str,
        mut element: impl FnMut(&mut Self) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.expect(opening)?;
        self.skip_space();
        if self.text[self.at..].starts_with(closing) {
            return self.expect(closing);
        }
        loop {
            element(self)?;
            self.skip_space();
            if self.peek() != Some(b',') {
                return self.expect(closing);
            }
            self.at += 1;
            self.skip_space();
        }
    }

    fn number(&mut self) -> Result<(), NotJson> {
        let is_digit = |byte: u8| byte.is_ascii_digit();
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let starts_with_zero = self.peek() == Some(b'0');
        let digits = self.skip(is_digit);
        if digits == 0 || starts_with_zero && digits > 1 {
            return Err(NotJson);
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.skip(is_digit) == 0 {
                return Err(NotJson);
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.skip(is_digit) == 0 {
                return Err(NotJson);
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Option<String>, NotJson> {
        self.expect("\"")?;
        // The escapes denote UTF-16 code units.
        let mut units = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let next = rest.chars().next().ok_or(NotJson)?;
            self.at += next.len_utf8();
            match next {
                '"' => return Ok(String::from_utf16(&units).ok()),
                '\0'..' ' => return Err(NotJson),
                '\\' => {
                    let escape = self.peek().ok_or(NotJson)?;
                    self.at += 1;
                    units.push(match escape {
                        b'"' | b'\\' | b'/' => u16::from(escape),
                        b'b' => 8,
                        b'f' => 12,
                        b'n' => 10,
                        b'r' => 13,
                        b't' => 9,
                        b'u' => {
                            let digits = self.text.get(self.at..self.at + 4).ok_or(NotJson)?;
                            self.at += 4;
                            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                                return Err(NotJson);
                            }
                            u16::from_str_radix(digits, 16).map_err(|_| NotJson)?
                        }
                        _ => return Err(NotJson),
                    });
                }
                next => units.extend_from_slice(next.encode_utf16(&mut [0; 2])),
            }
        }
    }
}
