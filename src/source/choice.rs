//! Where the objects come from, as people write it: `source` in a Corefile, `--source`, `OUTLAST_SOURCE`.
//!
//! A choice is not yet a source: which API server is meant, the `kubernetes` block says
//! ([`SourceConfig`](super::SourceConfig) is both together).

use std::path::PathBuf;
use std::str::FromStr;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceChoice {
    /// `auto`: the API server, as long as there are no hubs to follow instead.
    #[default]
    Auto,
    /// `apiserver`
    ApiServer,
    /// `file PATH` in a Corefile, `file:PATH` elsewhere.
    File(PathBuf),
}

/// A flag or a variable whose text is no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSource {
    /// `hub`, which will be one.
    #[error("source 'hub' is not supported yet: write {FORMS}")]
    Hub,
    /// Anything else.
    #[error("{text:?} is not a source: write {FORMS}")]
    Unknown {
        /// What was written.
        text: String,
    },
}

/// The forms of a flag's text.
const FORMS: &str = "auto, apiserver or file:PATH";

impl FromStr for SourceChoice {
    type Err = NoSource;

    fn from_str(text: &str) -> Result<Self, NoSource> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "apiserver" => Ok(Self::ApiServer),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            None if text == "hub" => Err(NoSource::Hub),
            Some(("hub", _)) => Err(NoSource::Hub),
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
            ("apiserver", SourceChoice::ApiServer),
            ("file:/etc/cluster: 1.yaml", SourceChoice::File("/etc/cluster: 1.yaml".into())),
        ] {
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
        for text in ["", "file", "file:", "/etc/cluster.yaml", "apiserver:", "auto:x"] {
            let error = text.parse::<SourceChoice>().unwrap_err();
            assert_eq!(error.to_string(), format!("{text:?} is not a source: write {FORMS}"));
        }
        for text in ["hub", "hub:10.0.0.1"] {
            assert_eq!(text.parse::<SourceChoice>(), Err(NoSource::Hub), "{text}");
        }
    }
}
