//! Where the objects come from, as people write it: `source` in a Corefile, `--source`, `OUTLAST_SOURCE`.
//!
//! A choice is not yet a source: which API server is meant, the `kubernetes` block says
//! ([`SourceConfig`](super::SourceConfig) is both together).

use std::path::PathBuf;
use std::str::FromStr;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceChoice {
    /// `auto`: hubs if any is configured, else the API server.
    #[default]
    Auto,
    /// `apiserver`
    ApiServer,
    /// `hub`
    Hub,
    /// `file PATH` in a Corefile, `file:PATH` elsewhere.
    File(PathBuf),
}

/// A flag or a variable whose text is no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSource {
    /// `hub:10.0.0.1`: where hubs are has an option of its own.
    #[error("source 'hub' stands alone: where the hubs are, 'hub ADDRESS...', --hub or OUTLAST_HUB says")]
    HubWithAddress,
    /// Anything else.
    #[error("{text:?} is not a source: write {FORMS}")]
    Unknown {
        /// What was written.
        text: String,
    },
}

/// The forms of a flag's text.
const FORMS: &str = "auto, hub, apiserver or file:PATH";

impl FromStr for SourceChoice {
    type Err = NoSource;

    fn from_str(text: &str) -> Result<Self, NoSource> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "apiserver" => Ok(Self::ApiServer),
            None if text == "hub" => Ok(Self::Hub),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            Some(("hub", _)) => Err(NoSource::HubWithAddress),
            _ => Err(NoSource::Unknown { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_flags_may_say() {
        for (text, want) in [
            ("auto", SourceChoice::Auto),
            ("hub", SourceChoice::Hub),
            ("apiserver", SourceChoice::ApiServer),
            ("file:/etc/cluster: 1.yaml", SourceChoice::File("/etc/cluster: 1.yaml".into())),
        ] {
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
        for text in ["", "file", "file:", "/etc/cluster.yaml", "apiserver:", "auto:x"] {
            let error = text.parse::<SourceChoice>().unwrap_err();
            assert_eq!(error.to_string(), format!("{text:?} is not a source: write {FORMS}"));
        }
        assert_eq!("hub:10.0.0.1".parse::<SourceChoice>(), Err(NoSource::HubWithAddress));
    }
}
