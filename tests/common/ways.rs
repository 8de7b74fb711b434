//! The two ways that an answer takes over UDP, for scripts that are played by both.
//!
//! What a script expects has to hold whichever way queries take, its metrics and its log included; and both ways say
//! the same, byte for byte.

use std::fmt;

/// The way that queries take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// All are the general handler's.
    General,
    /// The inline lane has them first, as over UDP.
    Lane,
}

impl Way {
    /// Both, in the order in which scripts are played.
    pub(crate) const BOTH: [Self; 2] = [Self::General, Self::Lane];
}

/// A reply of a script.
#[derive(Clone)]
pub(crate) struct Said {
    /// What was asked.
    pub(crate) question: String,
    /// The message.
    pub(crate) reply: Vec<u8>,
    /// Whether the lane gave it.
    pub(crate) inline: bool,
}

/// Everything that was said in one play of a script, in its order.
pub(crate) type Transcript = Vec<Said>;

/// How many replies the lane gave.
///
/// # Errors
/// Where the two plays first say something else.
pub(crate) fn compare(general: &[Said], lane: &[Said]) -> Result<usize, Differs> {
    if let Some((general, lane)) = general
        .iter()
        .zip(lane)
        .find(|(general, lane)| (&general.question, &general.reply) != (&lane.question, &lane.reply))
    {
        return Err(Differs::Reply(general.clone(), lane.clone()));
    }
    if general.len() != lane.len() {
        return Err(Differs::Count(general.len(), lane.len()));
    }
    Ok(lane.iter().filter(|said| said.inline).count())
}

/// In what two plays differ.
pub(crate) enum Differs {
    /// In a reply: the general handler's, the other play's.
    Reply(Said, Said),
    /// In how many replies there are.
    Count(usize, usize),
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(general, lane) => {
                let inline = if lane.inline { "inline" } else { "not inline" };
                writeln!(f, "the general handler says to {}:\n{:02x?}", general.question, general.reply)?;
                write!(f, "and with the lane, {inline}, to {}:\n{:02x?}", lane.question, lane.reply)
            }
            Self::Count(general, lane) => write!(f, "{general} replies, and {lane} with the lane"),
        }
    }
}
