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

/// Options that are accepted.
pub const OPTIONS: [&str; 1] = ["monitor"];

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
            _ => return Err(line.unknown_property(NAME, &OPTIONS)),
        }
    }
    cx.watches_readiness = true;
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::node::Builder;

    #[test]
    fn one_block_that_asks_for_it_decides_the_monitor() {
        let block = |zone: &str, mode: &str| format!("{zone}:53 {{\n ready {{\n monitor {mode}\n }}\n}}\n");
        for (modes, want) in [
            (["until-ready", "until-ready"], Monitor::UntilReady),
            (["until-ready", "continuously"], Monitor::Continuously),
            (["continuously", "until-ready"], Monitor::Continuously),
        ] {
            let text = format!("{}{}", block("a", modes[0]), block("b", modes[1]));
            let process = Builder::default().check(&text).unwrap().process;
            assert_eq!(process.monitor, want, "{modes:?}");
            let addresses: Vec<_> = process.faces.iter().map(|(f, a)| (*f, a.to_string())).collect();
            assert_eq!(addresses, vec![(Face::Ready, ":8181".to_owned()); 2]);
        }
    }
}
