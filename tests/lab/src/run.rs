//! Running a program to its end, with a bound on the time and both of its outputs kept.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Doing, Error, Result};

/// How long the output of an ended program is waited for: a daemon that it left may hold the pipe.
const OUTPUT_GRACE: Duration = Duration::from_millis(300);

/// A program that ended by itself.
#[derive(Debug)]
pub(crate) struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command` and gives back its output, whatever it ended with.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    let words = words(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .doing(|| format!("start `{words}`"))?;
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let code = wait_at_most(&mut child, limit, &words)?;
    Ok(Output { code, stdout: text_of(stdout), stderr: text_of(stderr) })
}

/// Runs `command`, which has to end with 0, and gives back its standard output.
pub(crate) fn check(command: &mut Command, limit: Duration) -> Result<String> {
    let output = run(command, limit)?;
    match output.code {
        0 => Ok(output.stdout),
        code => Err(Error::Program { command: words(command), code: code.to_string(), said: last_words(&output) }),
    }
}

/// The program and its arguments, for messages.
fn words(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn last_words(output: &Output) -> String {
    let said = match output.stderr.trim() {
        "" => output.stdout.trim(),
        stderr => stderr,
    };
    said.lines().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" | ")
}

fn wait_at_most(child: &mut Child, limit: Duration, words: &str) -> Result<i32> {
    let start = Instant::now();
    let mut step = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait().doing(|| format!("wait for `{words}`"))? {
            use std::os::unix::process::ExitStatusExt;
            return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
        if start.elapsed() >= limit {
            // It may have ended in between: then there is nothing to kill, and nothing is lost.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::Timeout {
                what: format!("`{words}`"),
                limit_ms: limit.as_millis(),
                last: "still running, killed".to_owned(),
            });
        }
        thread::sleep(step);
        step = (step * 2).min(Duration::from_millis(10));
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut chunk = [0; 16 * 1024];
        while let Ok(length @ 1..) = pipe.read(&mut chunk) {
            if sender.send(chunk[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn text_of(pipe: Option<Receiver<Vec<u8>>>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        while let Ok(chunk) = pipe.recv_timeout(OUTPUT_GRACE) {
            bytes.extend(chunk);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
