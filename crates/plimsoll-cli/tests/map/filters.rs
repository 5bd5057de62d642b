//! Ordinary filters work as COMMAND, without their user knowing about output
//! buffering.

use crate::running::{map, numbers, text};

#[test]
fn tr_answers_in_order() {
    let done = map(["-w", "4", "--", "tr", "a-z", "A-Z"]).on("one\ntwo\nthree\n").expect(0);
    assert_eq!(done.text(), "ONE\nTWO\nTHREE\n");
}

#[test]
fn sed_answers_line_by_line() {
    let done = map(["-w", "3", "--", "sed", "s/^/<&/"]).on(numbers(200)).expect(0);
    let expected = text((1..=200).map(|number| format!("<{number}")));
    assert_eq!(done.text(), expected);
}

#[test]
fn awk_answers_line_by_line_also_when_it_is_mawk() {
    for awk in ["awk", "mawk"] {
        let done = map(["-w", "2", "--", awk, "{ print $1 * 2 }"]).on(numbers(200)).expect(0);
        let expected = text((1..=200).map(|number| number * 2));
        assert_eq!(done.text(), expected, "{awk}");
    }
}

#[test]
fn grep_and_a_shell_pipe_answer_line_by_line() {
    let pipe = "grep -n '' | sed 's/^[0-9]*://'";
    let done = map(["-w", "2", "--", "sh", "-c", pipe]).on(numbers(100)).expect(0);
    assert_eq!(done.text(), numbers(100));
}

#[test]
fn python_answers_without_flushing() {
    let script = "import sys\nfor line in sys.stdin:\n    print('<' + line.strip())\n";
    let done = map(["-w", "2", "--", "python3", "./filter.py"])
        .script("filter.py", script)
        .on(numbers(100))
        .expect(0);
    let expected = text((1..=100).map(|number| format!("<{number}")));
    assert_eq!(done.text(), expected);
}

#[test]
fn perl_answers_on_a_pseudo_terminal() {
    let done =
        map(["-w", "2", "--pty", "--", "perl", "-ne", "print \"<$_\""]).on(numbers(100)).expect(0);
    let expected = text((1..=100).map(|number| format!("<{number}")));
    assert_eq!(done.text(), expected);
}

#[test]
fn a_pseudo_terminal_changes_no_byte() {
    let input: Vec<u8> = (0..=255_u8).filter(|&byte| byte != b'\n').chain(*b"\n").collect();
    let done = map(["-w", "1", "--pty", "--", "cat"]).on(input.clone()).expect(0);
    assert_eq!(done.stdout, input);
}

#[test]
fn nul_lines_are_answered_one_by_one() {
    let done = map(["-w", "2", "-0", "--", "sed", "-z", "s/^/<&/"]).on("a\nb\0c\0\0").expect(0);
    assert_eq!(done.text(), "<a\nb\0<c\0<\0");
}

/// `sort` answers at the end of its input only: that end comes once every
/// line has been given to a copy.
#[test]
fn a_filter_that_answers_at_the_end_of_its_input_is_shown_that_end() {
    let done = map(["-w", "1", "--capacity", "100", "--", "sort", "-rn"]).on(numbers(50)).expect(0);
    let expected = text((1..=50).rev());
    assert_eq!(done.text(), expected);
}

/// The first copy dies over its lines; then one line runs alone, and the others
/// wait behind a copy that answers only at the end of its input.
#[test]
fn lines_that_wait_behind_a_filter_that_answers_at_the_end_are_answered() {
    let script = "import os, sys\n\
        lines = sys.stdin.readlines()\n\
        try: os.mkdir('once')\n\
        except FileExistsError: sys.stdout.writelines(lines)\n";
    for workers in ["1", "2"] {
        let done = map(["-w", workers, "--capacity", "6", "--", "python3", "./buf.py"])
            .script("buf.py", script)
            .on(numbers(6))
            .expect(0);
        assert_eq!(done.text(), numbers(6));
    }
}

/// perl keeps its answers back in a pipe: after 5 s there is one message, and
/// at the end of the input the answers come.
#[test]
fn a_silent_command_brings_one_message_that_says_what_to_do() {
    let mut running = map(["-w", "2", "--capacity", "8", "--", "perl", "-ne", "print"]).start();
    running.write(numbers(6).as_bytes());
    running.stderr.wait_for_text("no answer from perl for 5 s");
    running.stderr.wait_for_text("--pty");
    let done = running.finish().expect(0);
    assert_eq!(done.text(), numbers(6));
    assert!(done.stderr.contains("$| = 1"), "{}", done.stderr);
    assert_eq!(done.stderr.matches("no answer").count(), 1);
}
