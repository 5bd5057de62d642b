//! On a pseudo-terminal: the live view comes, keys work, and the terminal is
//! given back.

use std::fs::File;
use std::io::Write;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};

use crate::program::finish;
use crate::running::{demo, read_until};
use crate::terminal::terminal;

/// What a terminal is told when the view comes and when it goes.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

struct Terminal {
    keyboard_and_screen: File,
    child: Child,
}

/// Starts it on a terminal of 80 by 24 and waits until its keys are drawn.
fn open(words: &[&str]) -> Terminal {
    let (keyboard_and_screen, slave) = terminal();
    let mut command = demo(words);
    command.env("TERM", "xterm").stdin(slave.try_clone().unwrap()).stdout(slave);
    let child = command.spawn().unwrap();
    let mut terminal = Terminal { keyboard_and_screen, child };
    let screen = terminal.read_until("policy ");
    assert!(screen.contains(ENTER), "{screen}");
    terminal
}

impl Terminal {
    fn read_until(&mut self, words: &str) -> String {
        read_until(&mut self.keyboard_and_screen, words)
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard_and_screen.write_all(keys).unwrap();
    }

    /// The table must come after the view has gone, on a terminal as it was;
    /// tells the table.
    fn ends_with(mut self, code: i32) -> String {
        let rest = self.read_until("invariants hold");
        let (_, table) = rest.split_once(LEAVE).expect("the view to go first");
        assert!(table.contains("wait until a worker began"), "{table}");
        let modes = tcgetattr(&self.keyboard_and_screen).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
        finish(self.child).expect(code);
        table.to_owned()
    }
}

#[test]
fn q_quits_with_0() {
    let mut terminal = open(&[]);
    terminal.press(b"q");
    terminal.ends_with(0);
}

#[test]
fn control_c_interrupts_with_130() {
    let mut terminal = open(&[]);
    terminal.press(b"\x03");
    terminal.ends_with(130);
}

#[test]
fn sigterm_gives_the_terminal_back() {
    let terminal = open(&[]);
    kill_process(Pid::from_child(&terminal.child), Signal::TERM).unwrap();
    terminal.ends_with(130);
}

/// Only what changes on the screen is sent, so this looks for words that come
/// where there were none, and at the table.
#[test]
fn keys_change_the_run() {
    let mut terminal = open(&["--workers", "3"]);
    terminal.press(b"s");
    terminal.read_until("slow");
    terminal.press(b" ");
    terminal.read_until("paused");
    terminal.press(b" p-q");
    let table = terminal.ends_with(0);
    assert!(table.contains("\nleast-loaded ") && table.contains("\npower-of-two "), "{table}");
    assert!(table.contains("Slow workers"), "{table}");
}

#[test]
fn a_bounded_run_ends_by_itself() {
    open(&["--seconds", "1"]).ends_with(0);
}
