//! `health [ADDRESS] { lameduck DURATION }`: `/health`, and how long to go on answering after SIGTERM.

use std::sync::Arc;

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::Plugin;
use crate::node::setup::Context;
use crate::ops::admin::Face;

/// The plugin's name.
pub const NAME: &str = "health";

/// Adds the address; of several blocks' lameducks the longest counts.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    cx.add_face(Face::Health, directive.optional_arg("health [ADDRESS]")?)?;
    for line in directive.lines() {
        match line.name().text.as_str() {
            "lameduck" => {
                let lameduck = line.one_arg("lameduck DURATION")?.duration()?;
                cx.process.lameduck = cx.process.lameduck.max(lameduck);
            }
            _ => return Err(line.unknown_property(NAME, &["lameduck"])),
        }
    }
    Ok(Vec::new())
}
