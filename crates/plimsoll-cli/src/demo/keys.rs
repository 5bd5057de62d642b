//! The keys of the live view, and what they mean.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Quit,
    Interrupt,
    Pause,
    Add,
    Remove,
    Slow,
    Policy,
    Up,
    Down,
}

/// The footer: key and meaning; the first of each pair is bright.
pub(crate) const ALL: [(&str, &str); 7] = [
    ("q", "quit"),
    ("space", "pause"),
    ("+", "add"),
    ("-", "remove"),
    ("↑↓", "choose"),
    ("s", "slow"),
    ("p", "policy"),
];

/// Those that do not disturb a comparison.
pub(crate) const COMPARING: [(&str, &str); 3] =
    [("q", "quit"), ("space", "pause"), ("↑↓", "choose")];

/// What a key means; `None` for one that means nothing.
pub(crate) fn meaning(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    if event.modifiers.contains(KeyModifiers::CONTROL) {
        return (event.code == KeyCode::Char('c')).then_some(Key::Interrupt);
    }
    Some(match event.code {
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Key::Quit,
        KeyCode::Char(' ') => Key::Pause,
        // Without shift on a common keyboard.
        KeyCode::Char('+' | '=') => Key::Add,
        KeyCode::Char('-' | '_') => Key::Remove,
        KeyCode::Char('s' | 'S') => Key::Slow,
        KeyCode::Char('p' | 'P') => Key::Policy,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_footer_says() {
        let plain = |code| meaning(KeyEvent::new(code, KeyModifiers::NONE));
        let named = [('q', Key::Quit), ('+', Key::Add), ('-', Key::Remove), ('s', Key::Slow)];
        for (name, key) in named.into_iter().chain([('p', Key::Policy), (' ', Key::Pause)]) {
            assert_eq!(plain(KeyCode::Char(name)), Some(key), "{name}");
        }
        assert_eq!((plain(KeyCode::Up), plain(KeyCode::Down)), (Some(Key::Up), Some(Key::Down)));
        assert_eq!(plain(KeyCode::Char('x')), None);
    }

    #[test]
    fn control_c_interrupts_and_c_does_not() {
        let code = KeyCode::Char('c');
        assert_eq!(meaning(KeyEvent::new(code, KeyModifiers::CONTROL)), Some(Key::Interrupt));
        assert_eq!(meaning(KeyEvent::new(code, KeyModifiers::NONE)), None);
        assert_eq!(meaning(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::CONTROL)), None);
    }

    #[test]
    fn a_release_is_no_press() {
        let mut event = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        event.kind = KeyEventKind::Release;
        assert_eq!(meaning(event), None);
    }
}
