//! Where a server's control socket is.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::ops::control::{Handler, serve};
use crate::ops::metrics::Metrics;

/// What `--control` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ControlAt {
    /// `off`: there is none.
    Off,
    /// At this path.
    Path(PathBuf),
}

impl FromStr for ControlAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            // From which folder a server was started, nobody knows later.
            path if path.starts_with('/') => Ok(Self::Path(path.into())),
            _ => Err("write an absolute path, or off".to_owned()),
        }
    }
}

impl ControlAt {
    /// Listens there until `stop`; the task ends once the socket's file is gone.
    pub(super) fn serve(
        &self,
        handler: Arc<dyn Handler>,
        metrics: &Arc<Metrics>,
        stop: CancellationToken,
        control: &Handle,
    ) -> tokio::task::JoinHandle<()> {
        match self {
            Self::Off => control.spawn(std::future::ready(())),
            Self::Path(path) => control.spawn(serve(path.clone(), handler, metrics.clone(), stop)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_flag_may_say() {
        assert_eq!("off".parse(), Ok(ControlAt::Off));
        assert_eq!("/run/x.sock".parse(), Ok(ControlAt::Path("/run/x.sock".into())));
        for text in ["", "x.sock", "OFF"] {
            assert_eq!(text.parse::<ControlAt>(), Err("write an absolute path, or off".to_owned()), "{text}");
        }
    }
}
