//! docs/STRICT.md and the rules' tests say the same.

use std::collections::BTreeSet;

const TABLE: &str = include_str!("../../../../../../docs/STRICT.md");
const RULES: &str = include_str!("rules.rs");

#[test]
fn each_case_has_its_test_and_each_test_its_case() {
    let mut in_table = BTreeSet::new();
    for row in TABLE.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| case")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let &[case, verdict, why, test] = &cells[..] else {
            panic!("{} cells: {row}", cells.len());
        };
        assert!(!case.is_empty() && why.contains('§'), "a case and its section: {row}");
        let known = ["refused", "rebuilt", "accepted"].iter().any(|word| verdict.starts_with(word));
        assert!(known, "a verdict: {row}");
        let name = test.strip_prefix('`').and_then(|test| test.strip_suffix('`'));
        assert!(in_table.insert(name.expect("a test's name")), "one row a test: {row}");
    }
    let tests = RULES.split("#[test]\nfn ").skip(1);
    let in_rules: BTreeSet<_> = tests.filter_map(|test| test.split('(').next()).collect();
    assert_eq!(in_table, in_rules);
}
