//! `debug`: logs what happens in detail. Unlike in CoreDNS a panic is caught all the same.

use std::sync::Arc;

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::Plugin;
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "debug";

/// Turns detailed logs on.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    directive.no_args()?;
    directive.no_body()?;
    cx.process.debug = true;
    Ok(Vec::new())
}
