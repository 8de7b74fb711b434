//! Commands that pages have readers type.

use std::collections::BTreeSet;

use clap::error::ErrorKind;

use super::kubectl;
use super::pages::{Page, path, text};
use super::process::{outlast, run};
use super::shell;
use super::{every_page_passes, it_finds};

/// Programs of everybody's, which are not looked at any closer.
const PROGRAMS: [&str; 20] = [
    "$EDITOR",
    "base64",
    "cat",
    "chown",
    "dig",
    "docker",
    "echo",
    "getent",
    "install",
    "ip",
    "journalctl",
    "kill",
    "mkdir",
    "mv",
    "nft",
    "ss",
    "ssh",
    "systemctl",
    "systemd-sysusers",
    "wc",
];

/// What stands for a value, and a value.
const PLACEHOLDERS: [(&str, &str); 6] = [
    ("TYPE", "A"),
    ("GEN", "412"),
    ("GENERATION", "412"),
    ("D", "1h"),
    ("ADDRESS", "10.0.0.1"),
    ("IP", "10.0.0.1"),
];

/// Where a command stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a block: typed as it is.
    Block,
    /// In a text, where it may be spoken of without its arguments.
    Prose,
}

/// The commands of a page, with their lines.
fn commands(page: &Page) -> Result<Vec<(usize, Place, Vec<String>)>, String> {
    let mut found = Vec::new();
    for block in &page.blocks {
        let text = match block.language.as_str() {
            "sh" => block.text.clone(),
            // What is typed stands behind a prompt.
            "console" => {
                block.text.lines().map(|l| l.strip_prefix("$ ").unwrap_or("").to_owned() + "\n").collect()
            }
            _ => continue,
        };
        let commands = shell::commands(&text).map_err(|error| format!("{}: {error}", page.at(block.line)))?;
        found.extend(commands.into_iter().map(|c| (block.line + 1 + c.line, Place::Block, c.words)));
    }
    let is_ours =
        |span: &str| ["outlast ", "kubectl ", "crictl "].iter().any(|program| span.starts_with(program));
    for (line, span) in page.spans().filter(|(_, span)| is_ours(span)) {
        let commands = shell::commands(&span).map_err(|error| format!("{}: {error}", page.at(line)))?;
        found.extend(commands.into_iter().map(|c| (line, Place::Prose, c.words)));
    }
    Ok(found)
}

/// What is wrong with the commands of a page.
fn complaints(page: &Page) -> Vec<String> {
    let commands = match commands(page) {
        Ok(commands) => commands,
        Err(complaint) => return vec![complaint],
    };
    let said = commands.into_iter().filter_map(|(line, place, words)| {
        complaint(&words, place).map(|said| format!("{}: {}: {said}", page.at(line), words.join(" ")))
    });
    said.collect()
}

/// What is wrong with a command.
pub(super) fn complaint(words: &[String], place: Place) -> Option<String> {
    let (first, rest) = words.split_first()?;
    match first.as_str() {
        "outlast" | "/outlast" => of_outlast(rest, place),
        "cargo" => of_cargo(rest),
        "kubectl" => kubectl::complaint(rest, place),
        // `crictl exec CONTAINER COMMAND`
        "crictl" => match rest {
            [verb, _, inner @ ..] if verb == "exec" => of_container(inner, place),
            [verb, ..] if verb == "ps" || verb == "stop" => None,
            _ => Some("crictl has no such verb here".to_owned()),
        },
        "sh" => None,
        script if script.starts_with(".ci/") => {
            (!path(script).is_file()).then(|| "it is not there".to_owned())
        }
        known if PROGRAMS.contains(&known) => None,
        unknown => Some(format!("nobody looks at {unknown}")),
    }
}

/// What is wrong with a command within a container.
pub(super) fn of_container(words: &[String], place: Place) -> Option<String> {
    match words.first().is_some_and(|first| first == "outlast") {
        true => Some("in the image it is /outlast, and nothing looks for it there".to_owned()),
        false => complaint(words, place),
    }
}

/// Every command that a synopsis stands for: `a|b` is one or the other, `[c]` is there.
fn meant(words: &[String]) -> Vec<Vec<String>> {
    let mut all = vec![vec!["outlast".to_owned()]];
    for word in words {
        let word = word.trim_matches(['[', ']', '…']).trim_end_matches("...");
        let choices: Vec<_> = word.split('|').collect();
        let with = |line: &Vec<String>| {
            let line = line.clone();
            let more = choices.iter().map(move |choice| [&line[..], &[value(choice)]].concat());
            more.collect::<Vec<_>>()
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

/// A word as a reader would type it.
fn value(word: &str) -> String {
    let known = PLACEHOLDERS.iter().find(|(placeholder, _)| *placeholder == word);
    match known {
        Some((_, value)) => (*value).to_owned(),
        // What a variable holds is an address, or a folder that a path begins with.
        None if word.starts_with('$') && word.contains('/') => "/folder/file".to_owned(),
        None if word.starts_with('$') => "10.0.0.1".to_owned(),
        None => word.to_owned(),
    }
}

/// What the command line has against one of ours.
fn of_outlast(words: &[String], place: Place) -> Option<String> {
    let first = words.first()?;
    // CoreDNS's and node-cache's flags, of which the last one ends it.
    if first.starts_with('-') && !first.starts_with("--") {
        let (code, _, errors) = run(outlast().args(words).arg("-version"));
        return (code != 0).then_some(errors);
    }
    let is_synopsis = words.iter().any(|word| word.contains('|') || word.starts_with('['));
    let may_be_short = is_synopsis || place == Place::Prose;
    let said = meant(words).into_iter().find_map(|words| {
        let error = outlast::cli::command().try_get_matches_from(words).err()?;
        let is_fine = match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => may_be_short,
            _ => false,
        };
        (!is_fine).then(|| error.to_string())
    })?;
    Some(said.lines().next().unwrap_or_default().to_owned())
}

/// What there is not of what a command of cargo names.
fn of_cargo(words: &[String]) -> Option<String> {
    let (own, ours) = match words.iter().position(|word| word == "--") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (words, &[][..]),
    };
    let manifest = text("Cargo.toml");
    let has = |section: &str, name: &str| match section {
        "--test" => path(&format!("tests/{name}.rs")).is_file(),
        "--bench" => manifest.contains(&format!("[[bench]]\nname = \"{name}\"")),
        "--profile" => manifest.contains(&format!("[profile.{name}]")),
        "--features" => manifest.contains(&format!("\n{name} = [")),
        _ => true,
    };
    let named = own.iter().zip(own.iter().skip(1)).find(|(flag, name)| !has(flag, name));
    if let Some((flag, name)) = named {
        return Some(format!("there is no {flag} {name}"));
    }
    match own.first().map(String::as_str)? {
        "run" => of_outlast(ours, Place::Block),
        "bench" | "build" | "clippy" | "doc" | "fmt" | "test" => None,
        other => Some(format!("nobody looks at cargo {other}")),
    }
}

#[test]
fn every_command_is_understood() {
    every_page_passes(complaints);
}

#[test]
fn a_command_that_is_wrong_is_found() {
    it_finds(
        complaints,
        "```sh\noutlast -conf C -dns.port 1 # x\noutlast snapshot show|verify|diff FILE\noutlast certs init --out a\n\
         A=1 cargo run -- node --conf F --pidfile $PWD/x\ncargo bench --bench serve\nsh tests/manifests/apply.sh F\n\
         crictl exec ID /outlast ctl status\n```\n`outlast ctl` and `outlast ctl lookup NAME [TYPE]`, `outlast hub --help`\n",
        &[
            (
                "```sh\noutlast node --config F\n```",
                "wrong.md:2: outlast node --config F: error: unexpected argument",
            ),
            (
                "```sh\n\noutlast serve\n```",
                "wrong.md:3: outlast serve: error: unrecognized subcommand 'serve'",
            ),
            ("```sh\noutlast certs init\n```", "required arguments were not provided"),
            ("```sh\noutlast snapshot show|check FILE\n```", "unrecognized subcommand 'check'"),
            ("```sh\noutlast node --hub hub.example\n```", "invalid value 'hub.example'"),
            ("```sh\noutlast -conf C -config C\n```", "not defined: -config"),
            ("```console\n$ outlast nod\nsaid\n```", "unrecognized subcommand 'nod'"),
            ("As `outlast ctl\nstate` says", "wrong.md:1: outlast ctl state: error"),
            ("```sh\ncrictl exec ID /outlast ctl state\n```", "unrecognized subcommand 'state'"),
            ("```sh\ncrictl exec ID outlast ctl status\n```", "in the image it is /outlast"),
            ("```sh\ncargo run -- nodes\n```", "unrecognized subcommand 'nodes'"),
            ("```sh\ncargo test --test nothing\n```", "there is no --test nothing"),
            ("```sh\ncargo bench --bench nothing\n```", "there is no --bench nothing"),
            ("```sh\noutlost node\n```", "nobody looks at outlost"),
            ("```sh\n.ci/nothing\n```", ".ci/nothing: it is not there"),
            ("```sh\necho 'a\n```", "' is not closed"),
        ],
    );
}

/// The help of a command and of those below it, each as a page that has its examples.
fn helps(command: &clap::Command, found: &mut Vec<Page>) {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let begins = ["  outlast ", "  kubectl "];
    let examples = help.lines().filter(|line| begins.iter().any(|program| line.starts_with(program)));
    // What it does is said behind it, two blanks apart.
    let examples: Vec<_> = examples.filter_map(|line| line.trim().split("  ").next()).collect();
    let text = format!("```sh\n{}\n```\n", examples.join("\n"));
    found.push(Page::parse(&format!("outlast {} --help", command.get_name()), &text));
    command.get_subcommands().for_each(|sub| helps(sub, found));
}

#[test]
fn examples_of_the_help_are_understood() {
    let mut pages = Vec::new();
    helps(&outlast::cli::command(), &mut pages);
    let examples: usize = pages.iter().map(|page| commands(page).unwrap().len()).sum();
    assert!(examples > 30, "{examples}");
    let said: Vec<_> = pages.iter().flat_map(complaints).collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
}

/// Subcommands that readers of the help see.
fn subcommands(of: &clap::Command) -> BTreeSet<String> {
    let shown = of.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
    shown.map(|command| command.get_name().to_owned()).collect()
}

/// What the overview has not, or has too much: every subcommand in its blocks, those of `ctl` in their table.
fn gaps(page: &Page) -> Vec<String> {
    let mut command = outlast::cli::command();
    command.build();
    let named = |words: &[String]| {
        meant(words).into_iter().filter_map(|words| words.get(1).cloned()).collect::<Vec<_>>()
    };
    let all = commands(page).unwrap();
    let of_outlast = all
        .iter()
        .filter(|(_, place, words)| *place == Place::Block && (words[0] == "outlast" || words[0] == "cargo"));
    let named: BTreeSet<_> = of_outlast
        .flat_map(|(_, _, words)| {
            let after = words.iter().position(|word| word == "--").map_or(1, |at| at + 1);
            named(&words[after.min(words.len())..])
        })
        .collect();
    let missing =
        subcommands(&command).difference(&named).map(|name| format!("outlast {name} is not shown")).collect();
    let ctl = command.find_subcommand("ctl").unwrap();
    let rows = page.prose.iter().skip_while(|text| text.text != "| command | what it does |").skip(2);
    let rows = rows.take_while(|text| text.text.starts_with('|'));
    let cells = rows.filter_map(|text| text.text.split('|').nth(1));
    let listed: BTreeSet<_> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter_map(|span| span.split(' ').next().map(str::to_owned))
        .collect();
    let differs = listed
        .symmetric_difference(&subcommands(ctl))
        .map(|name| format!("ctl {name} is shown or there, not both"))
        .collect::<Vec<_>>();
    [missing, differs].concat()
}

#[test]
fn the_overview_has_every_subcommand() {
    let page = Page::parse("README.md", &text("README.md"));
    assert_eq!(gaps(&page), Vec::<String>::new());
    for (from, to, want) in [
        ("outlast check ", "outlast node ", "outlast check is not shown"),
        ("| `thaw` |", "| `melt` |", "ctl melt is shown or there, not both"),
        ("| `alive` |", "| alive |", "ctl alive is shown or there, not both"),
    ] {
        let wrong = Page::parse("README.md", &text("README.md").replace(from, to));
        let gaps = gaps(&wrong);
        assert!(gaps.contains(&want.to_owned()), "{want}: {gaps:?}");
    }
}
