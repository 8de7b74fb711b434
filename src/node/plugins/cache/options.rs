//! The directive: from words to a policy, bounds and scopes.

use std::path::PathBuf;
use std::time::Duration;

use super::{NAME, OPTIONS};
use crate::corefile::{self, Directive, Error, Line, Statement, Token};
use crate::forward::cache::policy::{Bounds, MAX_FAILURE, Policy, Refresh, Stale};
use crate::forward::cache::store::{LEAST_BYTES, Limits, MAX_CAPACITY};
use crate::node::setup::Context;
use crate::zone::name::Labels;

/// How `serve_stale` is written.
const STALE_USAGE: &str = "serve_stale off, serve_stale [DURATION [immediate [TTL [RECHECK]]]] or serve_stale DURATION \
                           verify [TIMEOUT [TTL [RECHECK]]]";

/// For how long `serve_stale` without a duration has expired entries used: CoreDNS's figure.
const STALE: Duration = Duration::from_secs(3600);

/// The longest RECHECK, as in CoreDNS.
const MAX_RECHECK: Duration = Duration::from_secs(300);

/// The pause between two hits that ends the popularity of a name: CoreDNS's figure.
const PREFETCH_PAUSE: Duration = Duration::from_secs(60);

/// The share of its time that an entry has left when `prefetch` begins, in hundredths: CoreDNS's figure.
const PREFETCH_PERCENT: u8 = 10;

/// Suffixes of sizes, as Kubernetes writes them.
const SIZES: [(&str, usize); 3] = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];

/// The most that `max_bytes` can be: more than any machine gives to a cache.
const MOST_BYTES: usize = 1 << 40;

/// What a directive asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    /// The zones whose names are cached.
    pub(super) zones: Vec<Labels>,
    /// What is kept and what for.
    pub(super) policy: Policy,
    /// How much is kept.
    pub(super) limits: Limits,
    /// Names whose records are not kept.
    pub(super) no_success: Vec<Labels>,
    /// Names whose denials and failures are not kept.
    pub(super) no_denial: Vec<Labels>,
    /// Where the cache outlives the process.
    pub(super) persist: Persist,
}

/// Where a cache outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persist {
    /// Beside the snapshots, if there are any.
    BesideSnapshots,
    /// In this folder.
    Folder(PathBuf),
    /// Nowhere.
    Off,
}

impl From<&str> for Persist {
    /// `off`, or a folder.
    fn from(text: &str) -> Self {
        if text == "off" { Self::Off } else { Self::Folder(text.into()) }
    }
}

/// Reads a directive.
pub(super) fn read(directive: &Directive, cx: &Context<'_>) -> Result<Options, Error> {
    let mut policy = Policy::default();
    let mut words = directive.args();
    if let Some((first, rest)) = words.split_first()
        && first.text.bytes().all(|byte| byte.is_ascii_digit())
    {
        let ttl = first.integer(1..=i32::MAX.cast_unsigned())?;
        (policy.success.max, policy.denial.max) = (ttl, ttl);
        words = rest;
    }
    let zones = if words.is_empty() { cx.zones.clone() } else { labels(words, directive)? };
    let mut options = Options {
        zones,
        policy,
        limits: Limits::default(),
        no_success: Vec::new(),
        no_denial: Vec::new(),
        persist: Persist::BesideSnapshots,
    };
    for line in directive.lines() {
        option(line, &mut options, cx)?;
    }
    options.limits.keep = options.policy.stale.keep();
    Ok(options)
}

fn option(line: &Line, options: &mut Options, cx: &Context<'_>) -> Result<(), Error> {
    match line.name().text.as_str() {
        // Invariant: what is not listed is not accepted.
        name if !OPTIONS.contains(&name) => return Err(line.unknown_property(NAME, &OPTIONS)),
        "success" => options.limits.success = bounds(line, &mut options.policy.success)?,
        "denial" => options.limits.denial = bounds(line, &mut options.policy.denial)?,
        "prefetch" => options.policy.refresh = prefetch(line)?,
        "serve_stale" => options.policy.stale = serve_stale(line)?,
        "serve_stale_policy" => {
            let word = line.one_arg("serve_stale_policy prefer_positive")?;
            options.policy.prefer_positive = word.choice(&[("prefer_positive", true)])?;
        }
        "servfail" => {
            let word = line.one_arg("servfail DURATION")?;
            options.policy.failure = word.duration()?;
            if options.policy.failure > MAX_FAILURE {
                return Err(word.error("failures are remembered for 5m at most (RFC 9520 §3.2)"));
            }
        }
        "disable" => {
            let usage = "disable success|denial [ZONES...]";
            let words = line.expect_args(1..=usize::MAX, usage)?;
            let success = words[0].choice(&[("success", true), ("denial", false)])?;
            let zones = if words.len() > 1 { labels(&words[1..], line)? } else { options.zones.clone() };
            if success { &mut options.no_success } else { &mut options.no_denial }.extend(zones);
        }
        "keepttl" => {
            line.no_args()?;
            options.policy.keep_ttl = true;
        }
        "persist" => {
            options.persist = match line.optional_arg("persist [DIR] or persist off")? {
                None => Persist::BesideSnapshots,
                Some(word) if word.text == "off" => Persist::Off,
                Some(word) => Persist::Folder(cx.path(word)),
            };
        }
        "max_bytes" => options.limits.bytes = size(line.one_arg("max_bytes SIZE")?)?,
        _ => return Err(line.unknown_property(NAME, &OPTIONS)),
    }
    Ok(())
}

/// `CAPACITY [TTL [MINTTL]]`
fn bounds(line: &Line, bounds: &mut Bounds) -> Result<usize, Error> {
    let usage = format!("{} CAPACITY [TTL [MINTTL]]", line.name().text);
    let words = line.expect_args(1..=3, &usage)?;
    let capacity = words[0].integer(0..=MAX_CAPACITY)?;
    if let Some(word) = words.get(1) {
        bounds.max = word.integer(1..=i32::MAX.cast_unsigned())?;
    }
    if let Some(word) = words.get(2) {
        bounds.min = word.integer(0..=i32::MAX.cast_unsigned())?;
    }
    Ok(capacity)
}

/// `AMOUNT [DURATION [PERCENTAGE%]]`
fn prefetch(line: &Line) -> Result<Refresh, Error> {
    let words = line.expect_args(1..=3, "prefetch AMOUNT [DURATION [PERCENTAGE%]]")?;
    let amount = words[0].integer(0..=i32::MAX.cast_unsigned())?;
    let pause = words.get(1).map_or(Ok(PREFETCH_PAUSE), Token::duration)?;
    let percent = match words.get(2) {
        None => PREFETCH_PERCENT,
        Some(word) => {
            let number = word.text.strip_suffix('%').and_then(|number| number.parse().ok());
            number
                .filter(|number| (10..=90).contains(number))
                .ok_or_else(|| word.error(format!("'{}' is not a percentage from 10% to 90%", word.text)))?
        }
    };
    Ok(Refresh::Popular { amount, pause, percent })
}

/// `off`, or `[DURATION [MODE ...]]`
fn serve_stale(line: &Line) -> Result<Stale, Error> {
    let words = line.expect_args(0..=5, STALE_USAGE)?;
    if let [word] = words
        && word.text == "off"
    {
        return Ok(Stale::Off);
    }
    let keep = words.first().map_or(Ok(STALE), Token::duration)?;
    let mode = words.get(1).map(|word| word.choice(&[("immediate", false), ("verify", true)])).transpose()?;
    let rest = words.get(2..).unwrap_or_default();
    let (patience, rest) = match (mode, rest.split_first()) {
        (Some(true), Some((first, rest))) => (first.duration()?, rest),
        _ => (Duration::ZERO, rest),
    };
    if rest.len() > 2 {
        return Err(line.error(format!("plugin/{NAME}: write {STALE_USAGE}")));
    }
    let ttl = match rest.first() {
        None => 0,
        Some(word) => u32::try_from(word.duration()?.as_secs())
            .ok()
            .filter(|ttl| *ttl <= i32::MAX.cast_unsigned())
            .ok_or_else(|| word.error("a TTL has 31 bits"))?,
    };
    let recheck = rest.get(1).map_or(Ok(Duration::ZERO), Token::duration)?;
    if let Some(word) = rest.get(1)
        && recheck > MAX_RECHECK
    {
        return Err(word.error("RECHECK is 5m at most"));
    }
    Ok(match mode {
        // As in CoreDNS, where 0 is the default and means this.
        _ if keep.is_zero() => Stale::Off,
        Some(true) => {
            let patience = Some(patience).filter(|patience| !patience.is_zero());
            Stale::Verify { keep, patience, ttl, recheck }
        }
        _ => Stale::Immediate { keep, ttl, recheck },
    })
}

/// A number of bytes: `33554432`, `32Mi`.
fn size(word: &Token) -> Result<usize, Error> {
    let (number, unit) = SIZES
        .iter()
        .find_map(|(suffix, unit)| Some((word.text.strip_suffix(suffix)?, *unit)))
        .unwrap_or((&word.text, 1));
    let bytes = number.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    bytes.filter(|bytes| (LEAST_BYTES..=MOST_BYTES).contains(bytes)).ok_or_else(|| {
        word.error(format!("'{}' is not a size from 128Ki to 1024Gi: write bytes, or 32Mi", word.text))
    })
}

fn labels(words: &[Token], statement: &impl Statement) -> Result<Vec<Labels>, Error> {
    let label = |zone: &String| Labels::parse(zone).map_err(|e| statement.error(format!("{zone}: {e}")));
    corefile::zones(words)?.iter().map(label).collect()
}
