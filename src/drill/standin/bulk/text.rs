//! JSON, written as text and never as a tree.

use std::fmt::{self, Display, Write};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::zone::object::Kind;

/// The text of an object under construction.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// Forgets the text and keeps its room.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What was written.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Text that is JSON already.
    pub(super) fn raw(&mut self, json: &str) -> &mut Self {
        self.0.push_str(json);
        self
    }

    /// A string: quoted, and escaped as RFC 8259 §7 wants it.
    pub(super) fn string(&mut self, text: &str) -> &mut Self {
        self.0.push('"');
        if text.bytes().any(|b| b < b' ' || b == b'"' || b == b'\\') {
            text.chars().for_each(|c| self.escaped(c));
        } else {
            self.0.push_str(text);
        }
        self.0.push('"');
        self
    }

    /// A number, or something else whose text needs neither quotes nor escapes.
    pub(super) fn plain(&mut self, value: impl Display) -> &mut Self {
        write!(self.0, "{value}").expect("a string takes everything");
        self
    }

    /// Something whose text needs no escapes, quoted.
    pub(super) fn quoted(&mut self, value: impl Display) -> &mut Self {
        self.0.push('"');
        self.plain(value);
        self.0.push('"');
        self
    }

    /// `"name":"value",` where there is a value.
    pub(super) fn optional(&mut self, name: &str, value: &str) -> &mut Self {
        if !value.is_empty() {
            self.string(name).raw(":").string(value).raw(",");
        }
        self
    }

    /// `[…]`, each item written by `write`.
    pub(super) fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.0.push('[');
        self.separated(items, &mut write);
        self.0.push(']');
        self
    }

    /// `{…}`, each member written by `write`.
    pub(super) fn object<T>(
        &mut self,
        members: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.0.push('{');
        self.separated(members, &mut write);
        self.0.push('}');
        self
    }

    fn separated<T>(&mut self, items: impl IntoIterator<Item = T>, write: &mut impl FnMut(&mut Self, T)) {
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.0.push(',');
            }
            write(self, item);
        }
    }

    fn escaped(&mut self, c: char) {
        match c {
            '"' | '\\' => self.0.extend(['\\', c]),
            ..' ' => {
                write!(self.0, "\\u{:04x}", u32::from(c)).expect("a string takes everything");
            }
            _ => self.0.push(c),
        }
    }
}

/// What stands for one object wherever it is mentioned: its uid, and everything about it that varies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    /// The first half of the uid.
    high: u64,
    /// The second half.
    low: u64,
}

impl Identity {
    /// Of this object; the same in every run.
    pub(super) fn of(kind: Kind, namespace: &str, name: &str) -> Self {
        let place = xxh3_64_with_seed(namespace.as_bytes(), kind.index() as u64);
        let high = xxh3_64_with_seed(name.as_bytes(), place);
        // Another seed, so that the halves do not repeat each other.
        Self { high, low: xxh3_64_with_seed(name.as_bytes(), !high) }
    }

    /// A number below `bound` that is always the same for this object; `salt` tells several of them apart.
    pub(super) fn draw(self, salt: u64, bound: u64) -> u64 {
        (self.low ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)).rotate_left(29) % bound.max(1)
    }
}

/// As a UUID of version 4 (RFC 9562 §5.4).
impl Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { high, low } = *self;
        let version = high & 0x0fff | 0x4000;
        let variant = low >> 48 & 0x3fff | 0x8000;
        let (first, second, last) = (high >> 32, high >> 16 & 0xffff, low & 0xffff_ffff_ffff);
        write!(f, "{first:08x}-{second:04x}-{version:04x}-{variant:04x}-{last:012x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_read_back_as_they_were() {
        for text in ["", "web-0", "say \"no\"", "back\\slash", "tab\tand\nline", "\u{0}\u{1f}", "größe 🦀"]
        {
            let mut json = Text::default();
            json.string(text);
            let back: String = serde_json::from_str(json.as_str()).expect("JSON");
            assert_eq!(back, text);
        }
    }

    #[test]
    fn uids_have_the_form_of_version_4_and_differ() {
        let uid = |kind, name| Identity::of(kind, "shop", name).to_string();
        let web = uid(Kind::Service, "web");
        assert_eq!((web.len(), &web[14..15]), (36, "4"));
        assert!("89ab".contains(&web[19..20]), "{web}");
        assert_eq!(web, uid(Kind::Service, "web"));
        assert_ne!(web, uid(Kind::Service, "web-1"));
        assert_ne!(web, uid(Kind::Pod, "web"));
    }
}
