//! The block of `hosts`.

use std::time::Duration;

use super::table::address;
use super::{NAME, TARGET};
use crate::corefile::{Directive, Error, Line, Statement, Warning};
use crate::node::plugins::{is_within, zones_or_root};
use crate::node::setup::Context;
use crate::zone::name::Labels;

/// Options that are accepted, beside lines that begin with an address.
pub const OPTIONS: [&str; 5] = ["ttl", "no_reverse", "reload", "fallthrough", "fallthrough_unsupported"];

/// How the directive is written.
const USAGE: &str = "hosts [FILE [ZONES...]]";

/// TTL of records without `ttl`, in seconds: CoreDNS's default.
const DEFAULT_TTL: u32 = 3600;

/// The longest `ttl`, in seconds: CoreDNS's limit.
const MAX_TTL: u32 = 65_535;

/// How often the file is read again without `reload`: CoreDNS's default.
const RELOAD: Duration = Duration::from_secs(5);

/// What a block says, checked.
pub(super) struct Options<'a> {
    /// Lines that begin with an address.
    pub(super) inline: Vec<&'a Line>,
    /// `ttl`
    pub(super) ttl: u32,
    /// Without `no_reverse`.
    pub(super) reverse: bool,
    /// `reload`
    pub(super) reload: Duration,
    /// `fallthrough`
    pub(super) fallthrough: Vec<Labels>,
    /// `fallthrough_unsupported`
    pub(super) fallthrough_unsupported: bool,
}

/// Reads the block.
pub(super) fn options(directive: &Directive) -> Result<Options<'_>, Error> {
    let mut options = Options {
        inline: Vec::new(),
        ttl: DEFAULT_TTL,
        reverse: true,
        reload: RELOAD,
        fallthrough: Vec::new(),
        fallthrough_unsupported: false,
    };
    let mut unsupported = None;
    for line in directive.lines() {
        match line.name().text.as_str() {
            "ttl" => options.ttl = line.one_arg("ttl SECONDS")?.integer(1..=MAX_TTL)?,
            "no_reverse" => {
                line.no_args()?;
                options.reverse = false;
            }
            "reload" => options.reload = line.one_arg("reload DURATION")?.duration()?,
            "fallthrough" => options.fallthrough = zones_or_root(line.args())?,
            "fallthrough_unsupported" => {
                line.no_args()?;
                unsupported = Some(line);
            }
            word if address(word).is_none() && looks_like_an_address(word) => {
                return Err(
                    line.error(format!("plugin/hosts: '{word}' is no address: write 'ADDRESS NAME...'"))
                );
            }
            word if address(word).is_none() => return Err(line.unknown_property(NAME, &OPTIONS)),
            // As in CoreDNS, so that a block that starts here starts there.
            _ if !options.fallthrough.is_empty() => {
                return Err(line.error("plugin/hosts: lines with addresses stand before 'fallthrough'"));
            }
            _ => {
                line.expect_args(1..=usize::MAX, "ADDRESS NAME...")?;
                options.inline.push(line);
            }
        }
    }
    if let Some(line) = unsupported {
        if options.fallthrough.is_empty() {
            return Err(line.error("plugin/hosts: 'fallthrough_unsupported' needs 'fallthrough'"));
        }
        options.fallthrough_unsupported = true;
    }
    Ok(options)
}

/// Whether a word that is no address was probably meant to be one.
fn looks_like_an_address(word: &str) -> bool {
    word.contains(':') || word.starts_with(|c: char| c.is_ascii_digit())
}

/// Says which names of the block are never answered.
pub(super) fn warn_of_outsiders(options: &Options<'_>, zones: &[Labels], cx: &mut Context<'_>) {
    for word in options.inline.iter().flat_map(|line| line.args()) {
        let why = match Labels::parse(&word.text) {
            Ok(name) if is_within(&name, zones) => continue,
            Ok(_) => "it is in none of the zones",
            Err(_) => "it is not a domain name",
        };
        let (name, position) = (&word.text, word.position.clone());
        tracing::warn!(target: TARGET, "'{name}' at {position} has no effect: {why} (usage: {USAGE})");
        cx.process.warnings.push(Warning { position, text: format!("'{name}' has no effect: {why}") });
    }
}
