//! `ready [ADDRESS] { monitor until-ready|continuously }`: `/ready`.

use std::sync::Arc;

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::Plugin;
use crate::node::setup::Context;
use crate::ops::admin::Face;
use crate::ops::readiness::Monitor;

/// The plugin's name.
pub const NAME: &str = "ready";

/// Adds the address. The process has one readiness: a block that asks for `continuously` decides for all.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    cx.add_face(Face::Ready, directive.optional_arg("ready [ADDRESS]")?)?;
    for line in directive.lines() {
        match line.name().text.as_str() {
            "monitor" => {
                let modes = [("until-ready", Monitor::UntilReady), ("continuously", Monitor::Continuously)];
                if line.one_arg("monitor until-ready|continuously")?.choice(&modes)? == Monitor::Continuously
                {
                    cx.process.monitor = Monitor::Continuously;
                }
            }
            _ => return Err(line.unknown_property(NAME, &["monitor"])),
        }
    }
    cx.watches_readiness = true;
    Ok(Vec::new())
}
