//! Where a JSON value ends, without knowing what it says.
//!
//! Brackets, strings and escapes are followed exactly; what stands between them is left to the parser that gets
//! the value.

use memchr::memchr2;

/// How deep brackets may nest in one value: what serde_json reads of it as well. Objects of the API nest about
/// a dozen deep.
pub(super) const MAX_DEPTH: u32 = 127;

/// What is wrong, and how many bytes into the piece.
pub(super) type Wrong = (usize, &'static str);

/// A value whose beginning has been seen.
#[derive(Debug, Default)]
pub(super) struct Value {
    /// How many brackets are open.
    depth: u32,
    /// Which ones: the bit of each depth is set for `{`.
    braces: u128,
    /// What the next byte belongs to.
    within: Within,
}

/// What a byte belongs to.
#[derive(Clone, Copy, Debug, Default)]
enum Within {
    /// The structure.
    #[default]
    Structure,
    /// A string.
    String,
    /// A string, just after its backslash.
    Escape,
    /// A number or a word, all of the value.
    Scalar,
}

impl Value {
    /// Follows the value through the next `bytes`: how many of them belong to it, if it ends there.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Wrong> {
        let mut i = 0;
        while let Some(&byte) = bytes.get(i) {
            match self.within {
                Within::String => match memchr2(b'"', b'\\', &bytes[i..]) {
                    None => return Ok(None),
                    Some(n) if bytes[i + n] == b'\\' => {
                        self.within = Within::Escape;
                        i += n + 1;
                    }
                    Some(n) => {
                        self.within = Within::Structure;
                        i += n + 1;
                        if self.depth == 0 {
                            return Ok(Some(i));
                        }
                    }
                },
                // Of `\u0022` only the `u` is escaped, which is enough: the digits close nothing.
                Within::Escape => {
                    self.within = Within::String;
                    i += 1;
                }
                Within::Scalar => {
                    let ends = |b: &u8| matches!(b, b',' | b']' | b'}') || b.is_ascii_whitespace();
                    return Ok(bytes[i..].iter().position(ends).map(|n| i + n));
                }
                Within::Structure => {
                    i += 1;
                    match byte {
                        b'"' => self.within = Within::String,
                        b'{' | b'[' => self.open(byte).map_err(|what| (i - 1, what))?,
                        b'}' | b']' => {
                            self.close(byte).map_err(|what| (i - 1, what))?;
                            if self.depth == 0 {
                                return Ok(Some(i));
                            }
                        }
                        b',' | b':' if self.depth == 0 => return Err((i - 1, "expected a value")),
                        _ if self.depth == 0 => self.within = Within::Scalar,
                        _ => {}
                    }
                }
            }
        }
        Ok(None)
    }

    fn open(&mut self, bracket: u8) -> Result<(), &'static str> {
        if self.depth == MAX_DEPTH {
            return Err("brackets nested deeper than 127");
        }
        let bit = 1 << self.depth;
        self.braces = if bracket == b'{' { self.braces | bit } else { self.braces & !bit };
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self, bracket: u8) -> Result<(), &'static str> {
        let Some(depth) = self.depth.checked_sub(1) else { return Err("expected a value") };
        if (self.braces >> depth & 1 == 1) != (bracket == b'}') {
            return Err("a bracket closed by one of another kind");
        }
        self.depth = depth;
        Ok(())
    }
}
