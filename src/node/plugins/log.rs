//! tmp
use crate::corefile::{Directive, Error};
use crate::node::chain::Plugin;
use crate::node::setup::Context;
use std::sync::Arc;
/// The plugin's name.
pub const NAME: &str = "log";
/// tmp
pub fn setup(_d: &[&Directive], _cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    Ok(Vec::new())
}
