//! The way of a line to its sink: a bounded buffer that a thread of its own empties.
//!
//! Who logs copies a line under a lock that is never held while writing, so a sink that hangs (a full pipe, a
//! container runtime that does not read) costs lines, never time. Lines are dropped whole, the newest first:
//! the beginning of a trouble is worth more than its hundredth echo.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How many bytes may wait for the sink: some thousand lines, a second of a query log at 5,000 queries a second.
pub const BUFFER_BYTES: usize = 1 << 20;

/// A longer line is cut: one value must not push out thousands of other lines.
pub const LINE_BYTES: usize = 16 << 10;

/// What an empty buffer keeps after a burst.
const KEPT_BYTES: usize = 64 << 10;

/// How long the end of a process waits for its last lines.
const FLUSH_AT_END: Duration = Duration::from_secs(1);

/// What is shared between those who log and the thread that writes.
#[derive(Debug, Default)]
struct Shared {
    /// The buffer and its counts.
    state: Mutex<State>,
    /// Wakes the writer.
    filled: Condvar,
    /// Wakes those who flush.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines that wait for the writer.
    lines: Vec<u8>,
    /// Whether the writer is at work on lines that it has taken.
    writing: bool,
    /// Whether the writer waits to be woken: waking costs a system call.
    idle: bool,
    /// Lines dropped since the start.
    dropped: u64,
    /// Those of them that a notice has told of.
    told: u64,
    /// Whether the writer should end once the buffer is empty.
    ending: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes lines; cheap to clone.
#[derive(Clone, Debug)]
pub struct LineBuffer(Arc<Shared>);

impl LineBuffer {
    /// Buffers one line, with its line feed, or drops and counts it.
    pub fn push(&self, line: &[u8]) {
        let (line, cut) = match line.len() {
            ..=LINE_BYTES => (line, &b""[..]),
            _ => (head(line), &b"...\n"[..]),
        };
        let mut state = self.0.state();
        if state.lines.len() + line.len() + cut.len() > BUFFER_BYTES {
            state.dropped += 1;
            return;
        }
        state.lines.extend_from_slice(line);
        state.lines.extend_from_slice(cut);
        if state.idle {
            state.idle = false;
            self.0.filled.notify_one();
        }
    }
}

/// The first [`LINE_BYTES`] of a longer line, without a character cut in two.
fn head(line: &[u8]) -> &[u8] {
    let is_boundary = |at: &usize| line.get(*at).is_none_or(|byte| byte & 0xC0 != 0x80);
    let end = (0..=LINE_BYTES).rev().find(is_boundary).unwrap_or(0);
    line.get(..end).unwrap_or(line)
}

impl<'a> MakeWriter<'a> for LineBuffer {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Takes one event's line, which the formatter writes in one piece.
pub struct Line<'a>(&'a LineBuffer);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that writes. Dropping it writes what is buffered, for a second at most.
#[derive(Debug)]
pub struct LogWriter(Arc<Shared>);

impl LogWriter {
    /// Starts the thread. `notice` makes the line that tells how many lines were dropped. Errors: the system
    /// refuses a thread.
    pub fn start(sink: impl Write + Send + 'static, notice: fn(u64) -> String) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("log".into());
        thread.spawn({
            let shared = Arc::clone(&shared);
            move || write_lines(&shared, sink, notice)
        })?;
        Ok(Self(shared))
    }

    /// Where lines go in.
    pub fn buffer(&self) -> LineBuffer {
        LineBuffer(Arc::clone(&self.0))
    }

    /// Lines dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.0.state().dropped
    }

    /// Waits until what was pushed before is written, or `limit` has passed; whether it is written.
    pub fn flush(&self, limit: Duration) -> bool {
        let busy = |state: &mut State| state.writing || !state.lines.is_empty();
        let waited = self.0.written.wait_timeout_while(self.0.state(), limit, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.0.state().ending = true;
        self.0.filled.notify_one();
        // Not a join: a sink that hangs must not keep the process from ending.
        self.flush(FLUSH_AT_END);
    }
}

/// The thread's loop: takes all that is buffered, writes it without the lock.
fn write_lines(shared: &Shared, mut sink: impl Write, notice: fn(u64) -> String) {
    let mut batch = Vec::new();
    loop {
        let untold = {
            let mut state = shared.state();
            state.writing = false;
            while state.lines.is_empty() {
                shared.written.notify_all();
                if state.ending {
                    return;
                }
                state.idle = true;
                state = shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.idle = false;
            state.writing = true;
            std::mem::swap(&mut batch, &mut state.lines);
            let untold = state.dropped - state.told;
            state.told = state.dropped;
            untold
        };
        // The lock is not held here. A sink that fails (a closed pipe) leaves nobody to tell.
        let _ = sink.write_all(&batch);
        if untold > 0 {
            let _ = sink.write_all(notice(untold).as_bytes());
        }
        let _ = sink.flush();
        batch.clear();
        batch.shrink_to(KEPT_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A sink that writes nothing until told to, and keeps what it wrote.
    struct Gate {
        open: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Once the sender is gone the gate stays open.
            let _ = self.open.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gate() -> (Gate, mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (open, gate) = mpsc::channel();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        (Gate { open: gate, written: Arc::clone(&written) }, open, written)
    }

    fn notice(lines: u64) -> String {
        format!("dropped {lines}\n")
    }

    /// No test here waits this long unless it fails.
    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn lines_arrive_in_order_and_drop_flushes() {
        let (sink, open, written) = gate();
        drop(open);
        let writer = LogWriter::start(sink, notice).unwrap();
        let mut want = String::new();
        for i in 0..1_000 {
            let line = format!("line {i}\n");
            writer.buffer().push(line.as_bytes());
            want.push_str(&line);
        }
        drop(writer);
        assert_eq!(String::from_utf8(written.lock().unwrap().clone()).unwrap(), want);
    }

    #[test]
    fn a_sink_that_hangs_costs_lines_not_time() {
        let (sink, open, written) = gate();
        let writer = LogWriter::start(sink, notice).unwrap();
        let buffer = writer.buffer();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let lines = 4 * BUFFER_BYTES / line.len();
        for _ in 0..lines {
            buffer.push(&line);
        }
        assert!(!writer.flush(Duration::from_millis(10)), "nothing can be written yet");
        let dropped = writer.dropped();
        // One buffer waits, and at most another one had been taken by the writer.
        assert!(dropped >= lines as u64 / 2 && dropped < lines as u64, "{dropped}");

        drop(open);
        assert!(writer.flush(SOON));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let told: u64 = text.lines().filter_map(|l| l.strip_prefix("dropped ")?.parse::<u64>().ok()).sum();
        assert_eq!(told, dropped, "the log itself says what it lacks");
        assert_eq!(text.lines().filter(|l| l.starts_with('x')).count() as u64, lines as u64 - dropped);
    }

    #[test]
    fn a_line_too_long_is_cut() {
        let (sink, open, written) = gate();
        drop(open);
        let writer = LogWriter::start(sink, notice).unwrap();
        for (line, want) in [
            ("x".repeat(LINE_BYTES), "x".repeat(LINE_BYTES)),
            ("x".repeat(LINE_BYTES + 1), "x".repeat(LINE_BYTES) + "...\n"),
            ("x".repeat(LINE_BYTES - 1) + "é!", "x".repeat(LINE_BYTES - 1) + "...\n"),
        ] {
            written.lock().unwrap().clear();
            writer.buffer().push(line.as_bytes());
            assert!(writer.flush(SOON));
            assert!(*written.lock().unwrap() == want.as_bytes(), "{} bytes", line.len());
        }
    }

    #[test]
    fn a_sink_that_fails_stops_nobody() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let writer = LogWriter::start(Broken, notice).unwrap();
        for _ in 0..3 {
            writer.buffer().push(b"line\n");
            assert!(writer.flush(SOON));
        }
        assert_eq!(writer.dropped(), 0);
    }
}
