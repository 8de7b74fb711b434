//! Questions that are asked all the time while time passes.

use std::time::Duration;

use hickory_proto::rr::RecordType;
use outlast::testkit::client::Answer;

use super::expect::in_words;

/// A question, and which replies are right at any time.
pub(super) struct Vigil {
    /// The name that is asked for.
    pub(super) name: String,
    /// The type.
    pub(super) kind: RecordType,
    /// Each an rcode and the sorted data of the records.
    right: Vec<Vec<String>>,
}

impl Vigil {
    /// `NAME TYPE RCODE [DATA...] [or RCODE [DATA...]]...`
    pub(super) fn parse(words: &[&str]) -> Self {
        let [name, kind, right @ ..] = words else { panic!("always NAME TYPE RCODE") };
        let right = right.split(|word| *word == "or").map(|words| {
            let [rcode, data @ ..] = words else { panic!("a reply has an rcode") };
            let mut data: Vec<_> = data.iter().map(|word| (*word).to_owned()).collect();
            data.sort();
            std::iter::once((*rcode).to_owned()).chain(data).collect()
        });
        Self { name: (*name).to_owned(), kind: kind.parse().unwrap(), right: right.collect() }
    }

    /// Asserts that a reply is right; `at` is when it came, for people.
    pub(super) fn check(&self, answer: &Answer, at: Duration) {
        let said = in_words(answer);
        assert!(self.right.contains(&said), "{}: {said:?} at {at:?}", self.name);
    }
}
