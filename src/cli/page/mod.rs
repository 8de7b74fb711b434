//! The status page of a node or a hub: what `outlast ctl status` and `outlast ctl top` say, for a browser on the same machine.
//!
//! * here: where it is, and what it is made of. `html`: the document.
//!
//! Everything is in the one document, its styles and its script too: in an outage there is nowhere to get them from. Without
//! scripts it is whole, and asks to be loaded anew; with them it refreshes itself, and says when the process is gone.

mod html;

use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::ctl::advice::advice;
use crate::node::control::top::TopStatus;
use crate::ops::admin::ListenAddress;
use crate::ops::admin::page::{Page, serve};
use crate::ops::control::{Command, Handler};
use crate::ops::drain::Drain;
use crate::store::status::Status;

/// Where the page of a node is unless it is told otherwise.
pub(super) const NODE_ADDRESS: &str = "localhost:9154";

/// Where the page of a hub is unless it is told otherwise.
pub(super) const HUB_ADDRESS: &str = "localhost:9155";

/// What `--status-address` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StatusAt {
    /// `off`: there is none.
    Off,
    /// There, on loopback.
    At(ListenAddress),
}

impl FromStr for StatusAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address: ListenAddress = text.parse().map_err(|e| format!("{e}, or off"))?;
        // What is on it is nobody's who has no business on this machine.
        if !address.is_loopback() {
            return Err("write localhost:PORT or another address of loopback, or off".to_owned());
        }
        Ok(Self::At(address))
    }
}

impl StatusAt {
    /// Serves what `handler` knows there, until the end; the task ends with it.
    pub(super) fn serve(&self, handler: Arc<dyn Handler>, drain: &Drain, control: &Handle) -> JoinHandle<()> {
        match self {
            Self::Off => control.spawn(std::future::ready(())),
            Self::At(address) => {
                let (stop, leaving) = (drain.closing().clone(), drain.draining().clone());
                control.spawn(serve(address.clone(), Arc::new(StatusPage::new(handler)), stop, leaving))
            }
        }
    }
}

/// The page.
struct StatusPage {
    /// Knows everything.
    handler: Arc<dyn Handler>,
    /// What the document may do.
    policy: String,
}

impl StatusPage {
    fn new(handler: Arc<dyn Handler>) -> Self {
        let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
        let (style, script) = (hash(html::STYLE), hash(html::SCRIPT));
        // Its own styles and script, its own process, and nothing else.
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Self { handler, policy }
    }

    /// What the process says to a command.
    async fn ask<T: DeserializeOwned>(&self, command: Command) -> Result<T, String> {
        let known = self.handler.handle(command).await.map_err(|refusal| refusal.to_string())?;
        serde_json::from_value(known).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Page for StatusPage {
    async fn html(&self) -> Result<String, String> {
        let status: Status = self.ask(Command::Status).await?;
        // A hub answers no questions. Whoever looks at the page has them counted.
        let top: Option<TopStatus> = self.ask(Command::Top).await.ok();
        Ok(html::document(&status, &advice(&status), top.as_ref()))
    }

    async fn json(&self) -> Result<String, String> {
        let known = self.handler.handle(Command::Status).await.map_err(|refusal| refusal.to_string())?;
        Ok(format!("{known:#}\n"))
    }

    fn policy(&self) -> &str {
        &self.policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_flag_may_say() {
        assert_eq!("off".parse(), Ok(StatusAt::Off));
        for text in [NODE_ADDRESS, HUB_ADDRESS, "127.0.0.1:0", "127.9.9.9:80", "[::1]:9154"] {
            let at: StatusAt = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert!(matches!(at, StatusAt::At(_)), "{text}");
        }
        for text in [":9154", "0.0.0.0:9154", "10.0.0.1:9154", "[::]:9154"] {
            let error = text.parse::<StatusAt>().unwrap_err();
            assert!(error.starts_with("write localhost:PORT"), "{text}: {error}");
        }
        let error = "9154".parse::<StatusAt>().unwrap_err();
        assert!(error.contains("localhost:PORT") && error.ends_with("or off"), "{error}");
    }
}
