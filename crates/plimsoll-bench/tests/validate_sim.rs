//! `validate_sim` from the outside.
#![forbid(unsafe_code)]

use std::process::Command;

#[test]
fn a_name_that_no_row_has_is_1_and_a_sentence() {
    let done = Command::new(env!("CARGO_BIN_EXE_validate_sim")).arg("M/M/12").output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    let told = String::from_utf8(done.stderr).unwrap();
    assert_eq!(told, "validate_sim: no row has 'M/M/12' in its name\n");
    assert!(!String::from_utf8(done.stdout).unwrap().contains("ok."));
}
