//! The rules of node-cache (NodeLocal DNSCache), to the letter: it deletes its rules by their whole text at its end, and so
//! do we. Whoever takes over from the other therefore finds what it knows, and leaves nothing.

use std::net::IpAddr;

use crate::net::Ip;

/// What every comment begins with.
pub const COMMENT: &str = "NodeLocal DNS Cache:";

/// The table whose rules decide what is tracked: they lead packets here.
pub const RAW: &str = "raw";

/// The table of firewalls.
pub const FILTER: &str = "filter";

/// The tables that rules of ours are in.
pub const TABLES: [&str; 2] = [RAW, FILTER];

/// Their chains.
pub const CHAINS: [&str; 3] = ["PREROUTING", "INPUT", "OUTPUT"];

/// Packets to an address of ours, or from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `-d` and `--dport`
    To,
    /// `-s` and `--sport`
    From,
}

/// Whose port it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// DNS.
    Dns,
    /// `/health`.
    Health,
}

/// What becomes of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// It is not tracked, and so not sent elsewhere.
    Notrack,
    /// It is let through.
    Accept,
}

impl Target {
    /// The target, and what the comment says.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Notrack => ("NOTRACK", "skip conntrack"),
            Self::Accept => ("ACCEPT", "allow DNS traffic"),
        }
    }
}

/// One of the rules that each address has.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// Its table.
    table: &'static str,
    /// Its chain.
    chain: &'static str,
    /// Its protocol.
    protocol: &'static str,
    /// The direction.
    way: Way,
    /// The port.
    at: At,
    /// What it does.
    target: Target,
}

const fn row(
    table: &'static str,
    chain: &'static str,
    protocol: &'static str,
    way: Way,
    at: At,
    target: Target,
) -> Row {
    Row { table, chain, protocol, way, at, target }
}

/// The rules of an address, in the order in which they are put in front of all others.
///
/// The accepting ones are there because an untracked packet is of no connection that a firewall could know.
const ROWS: [Row; 12] = [
    row(RAW, "PREROUTING", "tcp", Way::To, At::Dns, Target::Notrack),
    row(RAW, "PREROUTING", "udp", Way::To, At::Dns, Target::Notrack),
    row(FILTER, "INPUT", "tcp", Way::To, At::Dns, Target::Accept),
    row(FILTER, "INPUT", "udp", Way::To, At::Dns, Target::Accept),
    row(RAW, "OUTPUT", "tcp", Way::From, At::Dns, Target::Notrack),
    row(RAW, "OUTPUT", "udp", Way::From, At::Dns, Target::Notrack),
    row(FILTER, "OUTPUT", "tcp", Way::From, At::Dns, Target::Accept),
    row(FILTER, "OUTPUT", "udp", Way::From, At::Dns, Target::Accept),
    row(RAW, "OUTPUT", "tcp", Way::To, At::Dns, Target::Notrack),
    row(RAW, "OUTPUT", "udp", Way::To, At::Dns, Target::Notrack),
    row(RAW, "OUTPUT", "tcp", Way::To, At::Health, Target::Notrack),
    row(RAW, "OUTPUT", "tcp", Way::From, At::Health, Target::Notrack),
];

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those that let packets through firewalls.
    Accepting,
}

/// The ports in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Of DNS.
    pub dns: u16,
    /// Of `/health`.
    pub health: u16,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its table.
    pub table: &'static str,
    /// Its chain.
    pub chain: &'static str,
    /// What it matches and does, word by word.
    matches: Vec<String>,
}

/// What is done with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Is it there?
    Check,
    /// Put it in front of all others.
    Insert,
    /// Delete it once.
    Delete,
}

impl Rule {
    /// The words for it behind the name of the program, without how long to wait for others.
    pub fn words(&self, verb: Verb) -> Vec<&str> {
        let verb: &[&str] = match verb {
            Verb::Check => &["-C", self.chain],
            Verb::Insert => &["-I", self.chain, "1"],
            Verb::Delete => &["-D", self.chain],
        };
        let matches = self.matches.iter().map(String::as_str);
        ["-t", self.table].into_iter().chain(verb.iter().copied()).chain(matches).collect()
    }

    /// A command for people that deletes it, with its comment or as node-cache wrote it before 2023.
    pub fn deletion(&self, program: &str, with_comment: bool) -> String {
        let quoted = |word: &str| if word.contains(' ') { format!("'{word}'") } else { word.to_owned() };
        let words = self.words(Verb::Delete).into_iter().take_while(|word| with_comment || *word != "-m");
        words.fold(program.to_owned(), |command, word| format!("{command} {}", quoted(word)))
    }
}

/// The rules of an address.
pub fn rules(address: IpAddr, ports: Ports, which: Which) -> Vec<Rule> {
    let wanted = |row: &&Row| which == Which::All || row.target == Target::Accept;
    ROWS.iter().filter(wanted).map(|row| rule(row, address, ports)).collect()
}

/// The words of programs that list all chains in which such rules are.
pub const fn lists(which: Which) -> &'static [&'static [&'static str]] {
    const LISTS: [&[&str]; 3] =
        [&["-t", RAW, "-S"], &["-t", FILTER, "-S", "INPUT"], &["-t", FILTER, "-S", "OUTPUT"]];
    match which {
        Which::All => &LISTS,
        Which::Accepting => LISTS.split_at(1).1,
    }
}

/// A row of this address.
fn rule(row: &Row, address: IpAddr, ports: Ports) -> Rule {
    let Row { table, chain, protocol, way, at, target } = *row;
    let (whose, port) = match way {
        Way::To => ("-d", "--dport"),
        Way::From => ("-s", "--sport"),
    };
    let number = match at {
        At::Dns => ports.dns,
        At::Health => ports.health,
    };
    let (name, said) = target.words();
    let (address, number) = (address.to_string(), number.to_string());
    let comment = format!("{COMMENT} {said}");
    let words =
        ["-p", protocol, whose, &address, port, &number, "-j", name, "-m", "comment", "--comment", &comment];
    Rule { table, chain, matches: words.map(str::to_owned).into() }
}

/// The program for addresses of a family.
pub const fn program(ip: Ip) -> &'static str {
    match ip {
        Ip::V4 => "iptables",
        Ip::V6 => "ip6tables",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports { dns: 53, health: 8080 };

    /// As node-cache has them.
    const WANT: [&str; 12] = [
        "raw PREROUTING -p tcp -d 10.96.0.10 --dport 53 NOTRACK",
        "raw PREROUTING -p udp -d 10.96.0.10 --dport 53 NOTRACK",
        "filter INPUT -p tcp -d 10.96.0.10 --dport 53 ACCEPT",
        "filter INPUT -p udp -d 10.96.0.10 --dport 53 ACCEPT",
        "raw OUTPUT -p tcp -s 10.96.0.10 --sport 53 NOTRACK",
        "raw OUTPUT -p udp -s 10.96.0.10 --sport 53 NOTRACK",
        "filter OUTPUT -p tcp -s 10.96.0.10 --sport 53 ACCEPT",
        "filter OUTPUT -p udp -s 10.96.0.10 --sport 53 ACCEPT",
        "raw OUTPUT -p tcp -d 10.96.0.10 --dport 53 NOTRACK",
        "raw OUTPUT -p udp -d 10.96.0.10 --dport 53 NOTRACK",
        "raw OUTPUT -p tcp -d 10.96.0.10 --dport 8080 NOTRACK",
        "raw OUTPUT -p tcp -s 10.96.0.10 --sport 8080 NOTRACK",
    ];

    #[test]
    fn rules_are_node_cache_s_word_by_word() {
        let all = rules("10.96.0.10".parse().unwrap(), PORTS, Which::All);
        assert_eq!(all.len(), WANT.len());
        for (rule, want) in all.iter().zip(WANT) {
            let (rest, target) = want.rsplit_once(' ').unwrap();
            let [table, chain, matches] = rest.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                panic!("{want}")
            };
            let said = if target == "ACCEPT" { "allow DNS traffic" } else { "skip conntrack" };
            let mut words: Vec<_> =
                format!("-t {table} -C {chain} {matches} -j {target} -m comment --comment")
                    .split(' ')
                    .map(str::to_owned)
                    .collect();
            words.push(format!("NodeLocal DNS Cache: {said}"));
            assert_eq!(rule.words(Verb::Check), words);
        }
    }

    #[test]
    fn verbs_differ_in_what_is_behind_the_table() {
        let rule = &rules("fd00:96::a".parse().unwrap(), PORTS, Which::All)[1];
        let begin = |verb| rule.words(verb)[..5].join(" ");
        assert_eq!(begin(Verb::Check), "-t raw -C PREROUTING -p");
        assert_eq!(begin(Verb::Insert), "-t raw -I PREROUTING 1");
        assert_eq!(begin(Verb::Delete), "-t raw -D PREROUTING -p");
        assert_eq!(
            rule.deletion("ip6tables-legacy", false),
            "ip6tables-legacy -t raw -D PREROUTING -p udp -d fd00:96::a --dport 53 -j NOTRACK"
        );
    }

    #[test]
    fn those_that_accept_are_all_of_the_firewall_s_table() {
        let address = "169.254.20.10".parse().unwrap();
        let all = rules(address, PORTS, Which::All);
        let accepting = rules(address, PORTS, Which::Accepting);
        assert_eq!(accepting.len(), 4);
        for (rules, which) in [(&all, Which::All), (&accepting, Which::Accepting)] {
            let is_listed = |rule: &Rule| {
                let in_table = |words: &&&[&str]| words[1] == rule.table;
                lists(which)
                    .iter()
                    .filter(in_table)
                    .any(|words| words.get(3).is_none_or(|c| *c == rule.chain))
            };
            assert!(rules.iter().all(is_listed), "{which:?}");
        }
        assert!(all.iter().all(|rule| accepting.contains(rule) == (rule.table == FILTER)));
        assert!(all.iter().all(|rule| TABLES.contains(&rule.table) && CHAINS.contains(&rule.chain)));
    }
}
