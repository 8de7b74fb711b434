//! Rules of the old kind, by the programs `iptables` and `ip6tables`: for kernels and machines without nftables, and to let
//! untracked packets through firewalls that are made of such rules.
//!
//! * [`rows`]: the rules, node-cache's to the letter.
//! * [`program`]: how the programs are run, and what they say.
//! * [`poll`]: how it is noticed that somebody deletes such a rule, where the kernel does not tell.
//!
//! Known weaknesses: such a rule does not expire. A process that is killed or stopped leaves it, and nobody answers until
//! another one takes it over or away.
//!
//! Invariant: only rules of exactly this text are ever deleted.

pub mod poll;
pub mod program;
pub mod rows;

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

pub use self::program::IptablesError;
use self::program::{Ran, find, print, run};
use self::rows::{COMMENT, RAW, Rule, Verb};
pub use self::rows::{Ports, Which};
use super::Ip;

/// How often the same rule is deleted at most: node-cache had a fault that put it there again and again.
const COPIES: usize = 1000;

/// Rules of some addresses.
#[derive(Clone, Debug)]
pub struct Iptables {
    /// The program of IPv4, if it is needed.
    v4: Option<PathBuf>,
    /// The program of IPv6, if it is needed.
    v6: Option<PathBuf>,
    /// The ports in the rules.
    ports: Ports,
    /// Which rules.
    which: Which,
    /// When nothing is to be looked for or made any more.
    stop: CancellationToken,
}

impl Iptables {
    /// For these addresses, by programs of the folders that `PATH` names.
    ///
    /// # Errors
    /// A program that is needed and not there.
    pub fn new(addresses: &[IpAddr], ports: Ports, which: Which) -> Result<Self, IptablesError> {
        Self::of_path(std::env::var_os("PATH").as_deref(), addresses, ports, which)
    }

    /// The same by programs of these folders, with colons between.
    ///
    /// # Errors
    /// A program that is needed and not there.
    pub fn of_path(
        path: Option<&OsStr>,
        addresses: &[IpAddr],
        ports: Ports,
        which: Which,
    ) -> Result<Self, IptablesError> {
        let needed = |ip: Ip| {
            if !addresses.iter().any(|address| Ip::of(address) == ip) {
                return Ok(None);
            }
            let name = rows::program(ip);
            find(name, path).map(Some).ok_or(IptablesError::Missing(name))
        };
        let stop = CancellationToken::new();
        Ok(Self { v4: needed(Ip::V4)?, v6: needed(Ip::V6)?, ports, which, stop })
    }

    /// Nothing is looked for or made once `stop` is cancelled, and what is under way is broken off. What is to be deleted is
    /// deleted all the same.
    pub fn until(&mut self, stop: CancellationToken) {
        self.stop = stop;
    }

    /// The addresses of which a rule is missing.
    ///
    /// # Errors
    /// What a program complains of.
    pub async fn missing(&self, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, IptablesError> {
        let mut missing = Vec::new();
        for address in addresses {
            for rule in self.rules(*address) {
                if self.run(*address, &rule, Verb::Check).await? == Ran::No {
                    missing.push(*address);
                    break;
                }
            }
        }
        Ok(missing)
    }

    /// All rules like ours of the chains that ours are in, as the programs print them. They may print a rule in other words
    /// than it was written: that two lists differ is all that they tell.
    ///
    /// # Errors
    /// What a program complains of.
    pub async fn listed(&self) -> Result<Vec<String>, IptablesError> {
        let mut listed = Vec::new();
        for program in self.programs() {
            for words in rows::lists(self.which) {
                let list = print(program, words, &self.stop).await?;
                listed.extend(list.lines().filter(|line| line.contains(COMMENT)).map(str::to_owned));
            }
        }
        Ok(listed)
    }

    /// Whether nftables has the tables: the kernel then tells what becomes of them. Where a program does not say, it has
    /// not.
    pub async fn are_of_nftables(&self) -> bool {
        for program in self.programs() {
            let said = print(program, &["-V"], &self.stop).await;
            if !said.is_ok_and(|said| said.contains("nf_tables")) {
                return false;
            }
        }
        true
    }

    /// The programs that are needed.
    fn programs(&self) -> impl Iterator<Item = &Path> {
        [&self.v4, &self.v6].into_iter().flatten().map(PathBuf::as_path)
    }

    /// Puts the rules of these addresses in front of all others, unless they are there.
    ///
    /// # Errors
    /// What a program complains of; some of the rules may be there then.
    pub async fn make(&self, addresses: &[IpAddr]) -> Result<(), IptablesError> {
        for address in addresses {
            for rule in self.rules(*address) {
                if self.run(*address, &rule, Verb::Check).await? == Ran::No
                    && self.run(*address, &rule, Verb::Insert).await? == Ran::No
                {
                    let words = rule.words(Verb::Insert).join(" ");
                    let said = "the kernel has no such table, chain, match or target".to_owned();
                    return Err(IptablesError::Failed(words, said));
                }
            }
        }
        Ok(())
    }

    /// Deletes the rules of these addresses, all copies of each; those that lead packets here first.
    ///
    /// # Errors
    /// The first complaint of a program. What is of one rule keeps the others from nothing; where a program does not get
    /// its turn, or cannot be had, nothing more is tried.
    pub async fn delete(&self, addresses: &[IpAddr]) -> Result<(), IptablesError> {
        let of = |address: &IpAddr| {
            let address = *address;
            self.rules(address).into_iter().map(move |rule| (address, rule))
        };
        let mut all: Vec<_> = addresses.iter().flat_map(of).collect();
        all.sort_by_key(|(_, rule)| rule.table != RAW);
        let mut first = Ok(());
        for (address, rule) in &all {
            match self.delete_copies(*address, rule).await {
                Ok(()) => {}
                // Of this rule alone.
                Err(error @ IptablesError::Failed(..)) => first = first.and(Err(error)),
                // Each of the others would wait as long, and nothing else is done meanwhile.
                Err(error) => return Err(error),
            }
        }
        first
    }

    /// Deletes a rule until there is none.
    async fn delete_copies(&self, address: IpAddr, rule: &Rule) -> Result<(), IptablesError> {
        for _ in 0..COPIES {
            if self.run(address, rule, Verb::Delete).await? == Ran::No {
                return Ok(());
            }
        }
        let words = rule.words(Verb::Delete).join(" ");
        Err(IptablesError::Failed(words, format!("it was there more than {COPIES} times")))
    }

    /// The rules of an address.
    fn rules(&self, address: IpAddr) -> Vec<Rule> {
        rows::rules(address, self.ports, self.which)
    }

    /// Runs the program of the address.
    async fn run(&self, address: IpAddr, rule: &Rule, verb: Verb) -> Result<Ran, IptablesError> {
        let ip = Ip::of(&address);
        let program = match ip {
            Ip::V4 => &self.v4,
            Ip::V6 => &self.v6,
        };
        let program = program.as_deref().ok_or(IptablesError::Missing(rows::program(ip)))?;
        let stop = match verb {
            Verb::Check | Verb::Insert => Some(&self.stop),
            Verb::Delete => None,
        };
        run(program, &rule.words(verb), stop).await
    }
}
