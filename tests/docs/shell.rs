//! Commands of a shell, as far as pages have them.

/// A command: its words, without redirections and what is set for it alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Lines from the first one of the text.
    pub(super) line: usize,
    /// As the program gets them, but for `$NAME`.
    pub(super) words: Vec<String>,
}

/// Words that begin or end something, and have a command behind them or none.
const KEYWORDS: [&str; 2] = ["do", "then"];
const ALONE: [&str; 4] = ["for", "done", "if", "fi"];

/// What is being read.
#[derive(Default)]
struct Reader {
    found: Vec<Command>,
    words: Vec<String>,
    word: Option<String>,
    /// The line of the first word.
    began: usize,
    line: usize,
    /// The next word is a file.
    redirected: bool,
}

impl Reader {
    /// The word that goes on, or a new one.
    fn word(&mut self) -> &mut String {
        if self.words.is_empty() && self.word.is_none() {
            self.began = self.line;
        }
        self.word.get_or_insert_default()
    }

    fn push(&mut self, c: char) {
        self.word().push(c);
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take()
            && !std::mem::take(&mut self.redirected)
        {
            self.words.push(word);
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        let is_set = |word: &String| {
            word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            })
        };
        let mut words = std::mem::take(&mut self.words).into_iter().peekable();
        while words.next_if(|word| is_set(word) || KEYWORDS.contains(&word.as_str())).is_some() {}
        let words: Vec<_> = words.collect();
        if words.first().is_some_and(|first| !ALONE.contains(&first.as_str())) {
            self.found.push(Command { line: self.began, words });
        }
    }
}

/// The commands of a text.
///
/// # Errors
/// A quote that is not closed.
pub(super) fn commands(text: &str) -> Result<Vec<Command>, String> {
    let mut reader = Reader::default();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('\n') => reader.line += 1,
                Some(c) => reader.push(c),
                None => return Err("nothing follows a backslash".to_owned()),
            },
            '\'' | '"' => {
                reader.word();
                loop {
                    match rest.next() {
                        None => return Err(format!("{c} is not closed")),
                        Some(end) if end == c => break,
                        Some('\\') if c == '"' => reader.push(rest.next().unwrap_or('\\')),
                        Some(inner) => {
                            reader.push(inner);
                            reader.line += usize::from(inner == '\n');
                        }
                    }
                }
            }
            '$' if rest.peek() == Some(&'(') => {
                rest.next();
                let inner: String = rest.by_ref().take_while(|c| *c != ')').collect();
                let at = reader.line;
                let inner = commands(&inner)?.into_iter();
                reader.found.extend(inner.map(|c| Command { line: c.line + at, ..c }));
                "$SAID".chars().for_each(|c| reader.push(c));
            }
            '#' if reader.word.is_none() => while rest.next_if(|c| *c != '\n').is_some() {},
            // Alternatives, as in `show|verify`.
            '|' if reader.word.is_some() && rest.peek().is_some_and(char::is_ascii_alphabetic) => {
                reader.push(c);
            }
            '\n' | ';' | '|' | '&' => {
                reader.end_command();
                reader.line += usize::from(c == '\n');
            }
            '>' | '<' => {
                reader.end_word();
                reader.redirected = true;
            }
            c if c.is_whitespace() => reader.end_word(),
            c => reader.push(c),
        }
    }
    reader.end_command();
    Ok(reader.found)
}

#[test]
fn commands_are_taken_apart() {
    let words = |text: &str| -> Vec<(usize, Vec<String>)> {
        commands(text).unwrap().into_iter().map(|c| (c.line, c.words)).collect()
    };
    let of = |line: usize, text: &str| (line, text.split(' ').map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(words("a b   # c\n\nd \\\n  e"), [of(0, "a b"), of(2, "d e")]);
    assert_eq!(words("A=1 a | b >f; c >> d && e"), [of(0, "a"), of(0, "b"), of(0, "c"), of(0, "e")]);
    assert_eq!(words("a show|verify FILE"), [of(0, "a show|verify FILE")]);
    assert_eq!(
        words("for x in a b; do\n  c \"$x/d e\"\ndone"),
        [(1, vec!["c".to_owned(), "$x/d e".to_owned()])]
    );
    assert_eq!(
        words("a '{\"b\":\n1}' c\nd"),
        [(0, vec!["a".to_owned(), "{\"b\":\n1}".to_owned(), "c".to_owned()]), of(2, "d"),]
    );
    assert_eq!(words("kill $(cat f)"), [of(0, "cat f"), of(0, "kill $SAID")]);
    for text in ["a 'b", "a \"b\n", "a \\"] {
        assert!(commands(text).is_err(), "{text}");
    }
}
