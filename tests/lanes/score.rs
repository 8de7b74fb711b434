//! How many packets the lane answers, by what their answer is.

use std::collections::BTreeMap;
use std::fmt;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

/// Zones whose names are the cluster's.
const CLUSTER: &str = "cluster.local.";

/// The EDNS option of Extended DNS Errors (RFC 8914 §2).
const EDE: u16 = 15;

/// How many packets of each class there were.
#[derive(Default)]
pub(crate) struct Score {
    /// By class.
    classes: BTreeMap<String, Count>,
}

/// How many packets.
#[derive(Clone, Copy, Default)]
struct Count {
    /// All of them.
    all: usize,
    /// Those that were answered inline.
    inline: usize,
}

impl Score {
    /// Counts a packet.
    pub(crate) fn add(&mut self, class: String, inline: bool) {
        let count = self.classes.entry(class).or_default();
        count.all += 1;
        count.inline += usize::from(inline);
    }

    /// How many packets were answered inline, of how many.
    pub(crate) fn total(&self) -> (usize, usize) {
        self.classes.values().fold((0, 0), |(inline, all), count| (inline + count.inline, all + count.all))
    }

    /// The share of a class that was answered inline, 0 to 1.
    ///
    /// # Panics
    /// If there were fewer than `least` of it: a share of few says little.
    pub(crate) fn share(&self, class: &str, least: usize) -> f64 {
        let Count { all, inline } = self.classes.get(class).copied().unwrap_or_default();
        assert!(all >= least, "{all} of '{class}', and {least} are wanted\n{self}");
        inline as f64 / all as f64
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (class, Count { all, inline }) in &self.classes {
            let share = 100.0 * *inline as f64 / *all as f64;
            writeln!(f, "{class:<34} {inline:>8} of {all:>8} {share:>6.1} %")?;
        }
        Ok(())
    }
}

/// What a reply says, in a few words: whose name, from where, and which records first.
pub(crate) fn class(reply: Option<&[u8]>) -> String {
    let Some(bytes) = reply else { return "silence".to_owned() };
    let Ok(message) = Message::from_vec(bytes) else { return "no message".to_owned() };
    let header = &message.metadata;
    let Some(question) = message.queries.first() else { return format!("bare {}", header.response_code) };
    let name = question.name().to_ascii().to_ascii_lowercase();
    let place = if name.ends_with(CLUSTER) {
        "cluster"
    } else if name.ends_with(".arpa.") {
        "reverse"
    } else {
        "outside"
    };
    // Upstream's own answers are not authoritative, what is kept of them is.
    let from = if header.authoritative { "" } else { " asked" };
    let said = match (header.response_code, message.answers.first()) {
        _ if header.truncation => "truncated".to_owned(),
        (ResponseCode::NoError, Some(first)) if first.record_type() == RecordType::CNAME => {
            "alias".to_owned()
        }
        (ResponseCode::NoError, Some(_)) => question.query_type().to_string(),
        (ResponseCode::NoError, None) => "NODATA".to_owned(),
        (ResponseCode::NXDomain, _) => "NXDOMAIN".to_owned(),
        (other, _) => format!("{other:?}"),
    };
    let remarks = message.edns.iter().flat_map(|edns| edns.options().as_ref());
    // Said of old data alone, and to those who have an OPT record.
    let is_old = remarks.into_iter().any(|(code, _)| u16::from(*code) == EDE);
    format!("{place}{from} {said}{}", if is_old { " old" } else { "" })
}
