//! A list: `{"kind":…,"apiVersion":…,"metadata":{…},"items":[{…},{…}]}`, its fields in any order.

use bytes::Bytes;

use super::value::Value;
use super::{Broken, Input};

/// The field whose elements are handed out one by one.
const ITEMS: &str = "items";

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Part {
    /// A field as a whole: any but `items`, or `items` that are no array.
    Field {
        /// Its name.
        name: String,
        /// Its value, as it came.
        value: Bytes,
    },
    /// An element of `items`, as it came.
    Item(Bytes),
}

/// Takes a list apart.
#[derive(Debug, Default)]
pub(in super::super) struct Document {
    /// What has come.
    input: Input,
    /// What comes next.
    state: State,
    /// The name or value that is being read, in the states that collect one.
    value: Value,
    /// The name of the field that is being read.
    name: String,
    /// Whether there is an array of items.
    listed: bool,
}

/// Where in the document the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the document.
    #[default]
    Start,
    /// Before the first name, or at the end of a document without fields.
    FirstName,
    /// Before a further name.
    NextName,
    /// In a name.
    Name,
    /// Between a name and its value.
    Colon,
    /// Before a field's value.
    BeforeField,
    /// In a field's value.
    Field,
    /// After a field's value.
    AfterField,
    /// Before the first item, or at the end of no items.
    FirstItem,
    /// Before a further item.
    NextItem,
    /// In an item.
    Item,
    /// After an item.
    AfterItem,
    /// After the document.
    End,
}

impl State {
    /// What is right here, for people.
    const fn expected(self) -> &'static str {
        match self {
            Self::Start => "expected '{'",
            Self::FirstName | Self::NextName | Self::Name => "expected a field's name",
            Self::Colon => "expected ':'",
            Self::BeforeField | Self::Field => "expected a field's value",
            Self::AfterField => "expected ',' or '}'",
            Self::FirstItem | Self::NextItem | Self::Item => "expected an item",
            Self::AfterItem => "expected ',' or ']'",
            Self::End => "expected nothing more",
        }
    }
}

impl Document {
    /// Takes the next piece of the body.
    pub(in super::super) fn push(&mut self, piece: Bytes) {
        self.input.push(piece);
    }

    /// The next part; `None` until its end has come.
    pub(in super::super) fn next(&mut self) -> Result<Option<Part>, Broken> {
        loop {
            if let State::Name | State::Field | State::Item = self.state {
                let Some(text) = self.collect()? else { return Ok(None) };
                if let Some(part) = self.collected(text)? {
                    return Ok(Some(part));
                }
            } else {
                let white = self.input.piece.iter().take_while(|b| b.is_ascii_whitespace()).count();
                self.input.skip(white);
                let Some(&byte) = self.input.piece.first() else { return Ok(None) };
                self.step(byte)?;
            }
        }
    }

    /// Whether the body may end here: after the whole document.
    pub(in super::super) fn finish(&self) -> Result<(), Broken> {
        match self.state {
            State::End => Ok(()),
            _ => Err(self.input.broken(0, "cut in the middle of a list")),
        }
    }

    /// Whether `items` has begun: a document without is no list.
    pub(in super::super) fn listed(&self) -> bool {
        self.listed
    }

    /// Takes one byte of the structure; those that begin a value stay where they are.
    fn step(&mut self, byte: u8) -> Result<(), Broken> {
        use State::{
            AfterField, AfterItem, BeforeField, Colon, End, Field, FirstItem, FirstName, Item, Name,
            NextItem, NextName, Start,
        };
        let (next, taken) = match (self.state, byte) {
            (Start, b'{') => (FirstName, 1),
            (FirstName | NextName, b'"') => (Name, 0),
            (Colon, b':') => (BeforeField, 1),
            (BeforeField, b'[') if self.name == ITEMS => (FirstItem, 1),
            (BeforeField, _) => (Field, 0),
            (AfterField, b',') => (NextName, 1),
            (FirstName | AfterField, b'}') => (End, 1),
            (FirstItem | AfterItem, b']') => (AfterField, 1),
            (FirstItem | NextItem, _) => (Item, 0),
            (AfterItem, b',') => (NextItem, 1),
            (state, _) => return Err(self.input.broken(0, state.expected())),
        };
        self.input.skip(taken);
        self.state = next;
        self.listed |= next == FirstItem;
        Ok(())
    }

    /// The value that is being read, once its end has come.
    fn collect(&mut self) -> Result<Option<Bytes>, Broken> {
        let end = self.value.end(&self.input.piece);
        match end.map_err(|(offset, what)| self.input.broken(offset, what))? {
            None => self.input.hold().map(|()| None),
            Some(n) => {
                self.value = Value::default();
                self.input.take(n).map(Some)
            }
        }
    }

    /// What the value that was read is a part of.
    fn collected(&mut self, text: Bytes) -> Result<Option<Part>, Broken> {
        match self.state {
            State::Name => {
                self.name = serde_json::from_slice(&text)
                    .map_err(|_| self.input.broken(0, "a field's name that is no text"))?;
                self.state = State::Colon;
                Ok(None)
            }
            State::Item => {
                self.state = State::AfterItem;
                Ok(Some(Part::Item(text)))
            }
            _ => {
                self.state = State::AfterField;
                Ok(Some(Part::Field { name: std::mem::take(&mut self.name), value: text }))
            }
        }
    }
}
