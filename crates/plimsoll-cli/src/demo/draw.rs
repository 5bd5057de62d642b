//! Draws the live view, on a screen of any size: what matters least goes first.

use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::keys;
use super::reading::{Reading, WorkerReading};
use super::view::{Before, View};
use super::words::{count, time};

const DIM: Style = Style::new().fg(Color::DarkGray);
const BRIGHT: Style = Style::new().add_modifier(Modifier::BOLD);
const LOUD: Style = Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD);

/// From this height on there is room for blank lines.
const ROOMY: u16 = 18;

/// Below this height the keys have one line, whatever does not fit in it.
const FOR_ALL_KEYS: usize = 8;

/// A bar is not shorter than this many cells: what stands beside it gives way.
const SHORTEST_BAR: usize = 8;

pub(crate) fn draw(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area();
    frame.render_widget(Paragraph::new(lines(view, area)), area);
}

/// From top to bottom: a header, the workers, the line, figures, what was
/// before, the keys.
fn lines(view: &View, area: Rect) -> Vec<Line<'_>> {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let reading = &view.reading;
    let blank = (area.height >= ROOMY).then(Line::default);

    let mut lines = vec![header(reading, width)];
    lines.extend(blank.clone());
    let mut below = vec![line_row(reading, width)];
    below.extend(blank.clone());
    below.extend(figures(reading, width));
    let mut keys: Vec<Line<'_>> = blank.clone().into_iter().collect();
    keys.extend(footer(view, width));

    // A short screen keeps a worker before it keeps the keys, and those before
    // the rest.
    keys.truncate(if height < FOR_ALL_KEYS { 1 } else { left(height, lines.len() + 1) });
    below.truncate(left(height, lines.len() + 1 + keys.len()));
    let room = left(height, lines.len() + below.len() + keys.len());
    let mut workers = worker_rows(view, width, room);
    workers.truncate(room);
    let room = room - workers.len();
    lines.extend(workers);
    lines.extend(below);
    let mut before: Vec<Line<'_>> = Vec::new();
    if !view.before.is_empty() {
        before.extend(blank);
    }
    before.extend(view.before.iter().map(before_row));
    // The last ones are the ones to compare with.
    let cut = left(before.len(), room);
    lines.extend(before.drain(cut..));
    // The keys stand at the bottom.
    lines.resize(left(height, keys.len()).max(lines.len()), Line::default());
    lines.extend(keys);
    lines
}

fn header(reading: &Reading, width: usize) -> Line<'static> {
    let mut left = vec![Span::styled(format!(" {}", reading.policy), LOUD)];
    if let Some((nth, of)) = reading.nth {
        left.push(Span::styled(format!(" ({nth} of {of})"), DIM));
    }
    if width >= 60 {
        let pending: u32 = reading.workers.iter().map(|worker| worker.pending).sum();
        let workers = count(reading.staying(), "worker");
        left.push(Span::raw(format!("   {workers}, {pending} pending")));
    }
    let state = match reading {
        Reading { paused: true, .. } => Span::styled("paused  ", LOUD),
        Reading { draining: true, .. } => Span::styled("draining  ", LOUD),
        _ => Span::raw(""),
    };
    let elapsed = reading.elapsed.as_secs_f64();
    let elapsed = match reading.length {
        Some(length) => format!("{elapsed:.0} of {} s ", length.as_secs_f64()),
        None => format!("{elapsed:.0} s "),
    };
    spread(left, vec![state, Span::raw(elapsed)], width)
}

/// As many workers as there is room for, the chosen one among them.
fn worker_rows<'a>(view: &'a View, width: usize, room: usize) -> Vec<Line<'a>> {
    let workers = &view.reading.workers;
    let place = view.place();
    let (from, shown) = if workers.len() <= room {
        (0, workers.len())
    } else {
        // One row says how many more there are.
        let shown = left(room, 1).max(1);
        let from = left(place + 1, shown);
        (from, shown)
    };
    let mut rows: Vec<Line<'a>> = workers
        .iter()
        .skip(from)
        .take(shown)
        .map(|worker| worker_row(worker, worker.slot == view.chosen, width))
        .collect();
    let hidden = workers.len() - rows.len();
    if hidden > 0 {
        rows.push(Line::styled(format!("      … and {hidden} more"), DIM));
    }
    rows
}

fn worker_row(worker: &WorkerReading, chosen: bool, width: usize) -> Line<'static> {
    let name = format!("{}{:>4} ", if chosen { "▸" } else { " " }, worker.slot + 1);
    let note = match worker {
        WorkerReading { leaving: true, .. } => "leaving",
        WorkerReading { slow: true, .. } => "slow",
        _ => "",
    };
    let style = if chosen { BRIGHT } else { Style::new() };
    bar_row(
        Span::styled(name, style),
        u64::from(worker.pending),
        u64::from(worker.capacity),
        note,
        width,
    )
}

fn line_row(reading: &Reading, width: usize) -> Line<'static> {
    bar_row(Span::raw(" line "), reading.waiting as u64, reading.line as u64, "", width)
}

/// A name, a bar of `part` in `whole`, both in figures, a note.
fn bar_row(
    name: Span<'static>,
    part: u64,
    whole: u64,
    note: &'static str,
    width: usize,
) -> Line<'static> {
    const NOTE: usize = "leaving".len() + 1;
    let figures = format!(" {:>9}", format!("{part}/{whole}"));
    let beside = name.width() + figures.len() + NOTE;
    let cells = left(width, beside).max(SHORTEST_BAR);
    let full = bar(part, whole, cells);
    let rest = "·".repeat(cells - full.chars().count());
    Line::from(vec![
        name,
        Span::styled(full, Style::new().fg(colour(part, whole))),
        Span::styled(rest, DIM),
        Span::raw(figures),
        Span::styled(format!(" {note}"), LOUD),
    ])
}

/// Blocks for `part` in `whole` of so many cells, to an eighth of a cell; what
/// is not nothing is seen.
fn bar(part: u64, whole: u64, cells: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if part == 0 || whole == 0 {
        return String::new();
    }
    let most = cells as u64 * 8;
    let eighths = (part.min(whole) * most).div_ceil(whole);
    let full = usize::try_from(eighths / 8).unwrap_or(cells);
    let rest = EIGHTHS[usize::try_from(eighths % 8).unwrap_or_default()];
    "█".repeat(full) + rest
}

fn colour(part: u64, whole: u64) -> Color {
    match part * 4 {
        quarters if quarters >= whole * 4 => Color::Red,
        quarters if quarters >= whole => Color::Yellow,
        _ => Color::Green,
    }
}

fn figures(reading: &Reading, width: usize) -> Vec<Line<'static>> {
    let recent = reading.recent;
    let rate = format!("{:.0} req/s", recent.per_second);
    let (p50, p99) = (time(recent.p50), time(recent.p99));
    let regret = format!("regret {:.2}", reading.regret);
    if width < 60 {
        let wait = format!(" wait p50 {p50}  p99 {p99}");
        let mut last = format!(" {rate}  {regret}");
        if reading.refused > 0 {
            let _ = write!(last, "  {} refused", reading.refused);
        }
        return vec![Line::raw(wait), Line::raw(last)];
    }
    let wait = vec![
        Span::raw(format!(" {rate:<12} wait p50  {p50:>8}   p99 ")),
        Span::styled(format!("{p99:>8}"), BRIGHT),
    ];
    let answered = format!("{} answered, {} refused ", reading.answered, reading.refused);
    let regret = vec![
        Span::raw(" "),
        Span::styled(regret, BRIGHT),
        Span::styled("  load chosen minus least load", DIM),
    ];
    vec![
        spread(wait, vec![Span::styled("last 3 s ", DIM)], width),
        spread(regret, vec![Span::raw(answered)], width),
    ]
}

/// A policy that ran before this one, to compare with.
fn before_row(before: &Before) -> Line<'static> {
    let Before { policy, mean, p99 } = *before;
    let (mean, p99) = (time(mean), time(p99));
    Line::styled(format!(" {policy:<12} wait mean {mean:>8}   p99 {p99:>8}"), DIM)
}

/// The keys, over as many lines as they need; a notice takes their place.
fn footer(view: &View, width: usize) -> Vec<Line<'static>> {
    if let Some(notice) = view.notice {
        return vec![Line::styled(format!(" {notice}"), LOUD)];
    }
    let comparing = view.reading.nth.is_some();
    let keys: &[_] = if comparing { &keys::COMPARING } else { &keys::ALL };
    let mut lines = vec![Line::default()];
    for (key, meaning) in keys {
        let spans =
            [Span::styled(format!(" {key}"), BRIGHT), Span::styled(format!(" {meaning} "), DIM)];
        let more: usize = spans.iter().map(Span::width).sum();
        if lines.last().is_some_and(|line| line.width() > 0 && line.width() + more > width) {
            lines.push(Line::default());
        }
        if let Some(line) = lines.last_mut() {
            line.spans.extend(spans);
        }
    }
    lines
}

/// What is left of the room when this much is taken; none when it is more.
fn left(room: usize, taken: usize) -> usize {
    room - taken.min(room)
}

/// What stands left and what stands right, if there is room for it.
fn spread(left: Vec<Span<'static>>, right: Vec<Span<'static>>, width: usize) -> Line<'static> {
    let used: usize = left.iter().chain(&right).map(Span::width).sum();
    let mut spans = left;
    match width.checked_sub(used) {
        Some(gap @ 1..) => {
            spans.push(Span::raw(" ".repeat(gap)));
            spans.extend(right);
        }
        _ => spans.extend(right.into_iter().take(1)),
    }
    Line::from(spans)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use plimsoll::Policy;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::view::sample;
    use super::*;

    fn screen(view: &View, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        let buffer = terminal.backend().buffer();
        (0..height)
            .map(|y| {
                let row: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
                row.trim_end().to_owned()
            })
            .collect()
    }

    #[test]
    fn a_usual_screen_shows_it_all() {
        let mut view = View::new(sample(&[2, 0, 64, 33, 1, 2, 2, 3]));
        view.reading.workers[2].slow = true;
        view.reading.workers[7].leaving = true;
        let screen = screen(&view, 80, 24);
        let text = screen.join("\n");
        assert!(screen[0].starts_with(" least-loaded   7 workers, 107 pending"), "{text}");
        assert!(screen[0].ends_with("12 s"), "{text}");
        assert!(screen[2].starts_with("▸   1 █"), "{text}");
        assert!(screen[3].starts_with("    2 ·"), "{text}");
        assert!(screen[4].contains("█     64/64 slow") && !screen[4].contains('·'), "{text}");
        assert!(screen[9].ends_with("3/64 leaving"), "{text}");
        for words in [
            "line",
            "3/1024",
            "1133 req/s",
            "wait p50    0.2 ms",
            "p99  61.0 ms",
            "regret 0.25",
            "13987 answered, 0 refused",
            " q quit  space pause  + add  - remove  ↑↓ choose  s slow  p policy",
        ] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
        assert!(!text.contains("more"), "{text}");
    }

    #[test]
    fn a_small_screen_shows_what_matters() {
        let mut view = View::new(sample(&[2; 8]));
        view.chosen = 6;
        let screen = screen(&view, 40, 10);
        let text = screen.join("\n");
        assert!(screen[0].starts_with(" least-loaded"), "{text}");
        assert!(screen[3].starts_with("▸   7 ▌"), "{text}");
        assert!(screen[4].contains("… and 5 more"), "{text}");
        assert!(screen[5].contains("3/1024"), "{text}");
        assert!(screen[6].contains("p99 61.0 ms"), "{text}");
        assert!(screen[7].contains("regret 0.25"), "{text}");
        assert!(screen[8].contains("q quit") && screen[9].contains("p policy"), "{text}");
    }

    #[test]
    fn many_workers_scroll_with_the_chosen_one() {
        let mut view = View::new(sample(&[1; 200]));
        assert!(screen(&view, 80, 24).join("\n").contains("… and 185 more"));
        view.chosen = 199;
        let text = screen(&view, 80, 24).join("\n");
        assert!(text.contains("▸ 200 ") && !text.contains("   1 █"), "{text}");
    }

    #[test]
    fn what_ran_before_is_kept_where_there_is_room() {
        let mut view = View::new(sample(&[2; 8]));
        let times = (Duration::from_millis(80), Duration::from_millis(400));
        view.before.push(Before { policy: Policy::RoundRobin, mean: times.0, p99: times.1 });
        let words = "round-robin  wait mean  80.0 ms   p99   400 ms";
        assert!(screen(&view, 80, 24).join("\n").contains(words));
        assert!(screen(&view, 80, 24)[23].contains("q quit"));
        assert!(!screen(&view, 80, 10).join("\n").contains("round-robin"));
    }

    #[test]
    fn any_size_can_be_drawn() {
        let view = View::new(sample(&[1; 20]));
        for width in [1, 2, 7, 20, 59, 60, 300] {
            for height in 1..30 {
                assert_eq!(screen(&view, width, height).len(), usize::from(height));
            }
        }
    }

    #[test]
    fn pauses_notices_and_comparisons_are_seen() {
        let mut view = View::new(sample(&[1; 2]));
        view.reading.paused = true;
        assert!(screen(&view, 80, 24)[0].contains("paused  12 s"));
        view.reading.nth = Some((2, 4));
        let text = screen(&view, 80, 24).join("\n");
        assert!(text.contains("least-loaded (2 of 4)") && !text.contains("+ add"), "{text}");
        view.notice = Some("the last worker stays");
        assert!(screen(&view, 80, 24)[23].contains("the last worker stays"));
    }

    #[test]
    fn bars_are_exact() {
        assert_eq!(bar(0, 64, 8), "");
        assert_eq!(bar(1, 64, 8), "▏");
        assert_eq!(bar(8, 64, 8), "█");
        assert_eq!(bar(12, 64, 8), "█▌");
        assert_eq!(bar(64, 64, 8), "████████");
        // Capacity may be lowered below what is pending.
        assert_eq!(bar(99, 64, 8), "████████");
        // Little is not nothing, and no line holds nothing.
        assert_eq!(bar(1, 1_000_000, 8), "▏");
        assert_eq!(bar(0, 0, 8), "");
    }
}
