//! Lines and axes, as SVG and as PNG.

use std::convert::Infallible;
use std::fs;
use std::ops::Range;
use std::path::Path;

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendTextStyle, DrawingErrorKind};

/// Width and height of a picture.
const SIZE: (u32, u32) = (960, 480);

/// The letters of a name that are shown, at most.
const LONGEST: i32 = 34;

/// Names that fit beside a picture.
const NAMES: usize = 23;

/// Lines of up to so many points have a mark at each.
const MARKED: usize = 60;

/// A line of a picture.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Axes: what they say, and whether they are logarithmic.
#[derive(Debug)]
pub(crate) struct Axes {
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) log_x: bool,
    pub(crate) log_y: bool,
}

/// Colours that are told apart, also by who sees some alike (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

/// Draws lines into a file, whose name tells the format.
///
/// # Errors
///
/// A sentence.
pub(crate) fn draw(path: &Path, axes: &Axes, series: &[Series]) -> Result<(), String> {
    let cannot =
        |error: &dyn std::fmt::Display| format!("{} cannot be written: {error}", path.display());
    let bytes = if path.extension().is_some_and(|ending| ending == "png") {
        let mut canvas = Canvas::new();
        paint(&mut canvas, axes, series)?;
        canvas.png().map_err(|error| cannot(&error))?
    } else {
        let mut text = String::new();
        paint(SVGBackend::with_string(&mut text, SIZE), axes, series)?;
        text.into_bytes()
    };
    fs::write(path, bytes).map_err(|error| cannot(&error))
}

/// The ends of an axis.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let none = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = values.fold(none, |(low, high), value| (low.min(value), high.max(value)));
    // A point by itself stands in the middle.
    let room = if high > low { 0.0 } else { low.abs().max(1e-9) / 2.0 };
    (low - room, high + room)
}

/// 1, 2 or 5 times a power of 10, not above a number.
fn tick(number: f64) -> f64 {
    let power = 10_f64.powf(number.log10().floor());
    let steps = [5.0, 2.0, 1.0];
    steps.map(|step| step * power).into_iter().find(|&tick| tick <= number).unwrap_or(power)
}

/// Draws the picture on whatever it is for.
fn paint<B: DrawingBackend>(backend: B, axes: &Axes, series: &[Series]) -> Result<(), String> {
    let all = || series.iter().flat_map(|series| &series.points);
    let (left, right) = ends(all().map(|point| point.0).filter(|x| !axes.log_x || *x > 0.0));
    let (mut low, high) = ends(all().map(|point| point.1).filter(|y| !axes.log_y || *y > 0.0));
    if !axes.log_y {
        low = 0.0;
    }
    let top = if axes.log_y { high } else { high * 1.05 };
    // Ticks of a logarithmic axis are only where it begins with one.
    let (x, y) = (
        if axes.log_x { tick(left) } else { left }..right,
        if axes.log_y { tick(low) } else { low }..top,
    );
    let area = backend.into_drawing_area();
    let labels: [&dyn Fn(&f64) -> String; 2] = [&labels(&x, axes.log_x), &labels(&y, axes.log_y)];
    let painted = match (axes.log_x, axes.log_y) {
        (true, true) => lines(&area, x.log_scale(), y.log_scale(), labels, axes, series),
        (false, true) => lines(&area, x, y.log_scale(), labels, axes, series),
        (true, false) => lines(&area, x.log_scale(), y, labels, axes, series),
        (false, false) => lines(&area, x, y, labels, axes, series),
    };
    painted.map_err(|error| format!("the picture cannot be drawn: {error}"))
}

/// Axes of these two kinds, and a line for each series.
fn lines<B, X, Y>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    x: X,
    y: Y,
    [x_label, y_label]: [&dyn Fn(&f64) -> String; 2],
    axes: &Axes,
    series: &[Series],
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>>
where
    B: DrawingBackend,
    X: AsRangedCoord<CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>, Value = f64>,
    Y: AsRangedCoord<CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>, Value = f64>,
{
    area.fill(&WHITE)?;
    // Names stand beside the lines, so that they cover none.
    let longest = series.iter().map(|series| series.name.chars().count()).max().unwrap_or(0);
    let names = i32::try_from(longest).unwrap_or(i32::MAX).min(LONGEST) * 8 + 44;
    let (left, right) = area.split_horizontally(i32::try_from(SIZE.0).unwrap_or(0) - names);
    let mut chart = ChartBuilder::on(&left)
        .caption(axes.title, ("sans-serif", 18))
        .margin(12)
        .margin_right(28)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(axes.x)
        .y_desc(axes.y)
        .label_style(("sans-serif", 13))
        .axis_desc_style(("sans-serif", 14))
        .x_label_formatter(&x_label)
        .y_label_formatter(&y_label)
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .draw()?;
    for (nth, series) in series.iter().enumerate() {
        let (style, is_dashed) = style(nth);
        let points = || series.points.iter().copied();
        if is_dashed {
            chart.draw_series(DashedLineSeries::new(points(), 8, 5, style))?;
        } else {
            chart.draw_series(LineSeries::new(points(), style))?;
        }
        if series.points.len() <= MARKED {
            chart.draw_series(points().map(|point| Circle::new(point, 3, style.filled())))?;
        }
    }
    // What does not fit is told by its number.
    let fitting = if series.len() > NAMES { NAMES - 1 } else { series.len() };
    let row = |nth: usize| 50 + i32::try_from(nth).unwrap_or(0) * 18;
    let write = |text: String, nth: usize| {
        right.draw(&Text::new(text, (32, row(nth) - 7), ("sans-serif", 13).into_font()))
    };
    for (nth, series) in series.iter().enumerate().take(fitting) {
        let (style, is_dashed) = style(nth);
        let parts: &[[i32; 2]] = if is_dashed { &[[2, 10], [15, 23]] } else { &[[2, 26]] };
        for &[from, to] in parts {
            right.draw(&PathElement::new([(from, row(nth)), (to, row(nth))], style))?;
        }
        write(shortened(&series.name), nth)?;
    }
    if fitting < series.len() {
        write(format!("and {} more", series.len() - fitting), fitting)?;
    }
    area.present()
}

/// The colour of a line, and whether it is dashed: the second time that a colour is used.
fn style(nth: usize) -> (ShapeStyle, bool) {
    (COLOURS[nth % COLOURS.len()].stroke_width(2), nth / COLOURS.len() % 2 == 1)
}

fn shortened(name: &str) -> String {
    let most = usize::try_from(LONGEST).unwrap_or(0);
    if name.chars().count() <= most {
        return name.into();
    }
    let kept: String = name.chars().take(most - 3).collect();
    kept + "..."
}

/// How figures at an axis are written: with the digits in which its ticks differ, and without
/// those that say nothing.
fn labels(range: &Range<f64>, is_log: bool) -> impl Fn(&f64) -> String + use<> {
    let span = range.end - range.start;
    move |&value| {
        // Ticks are a tenth of a span apart, or some times less; on a logarithmic axis that of
        // what stands there.
        let between = if is_log { value.abs() } else { span } / 1000.0;
        let digits = (0..12).find(|&digits: &u8| 10_f64.powi(-i32::from(digits)) <= between);
        let text = format!("{value:.0$}", usize::from(digits.unwrap_or(12)));
        let text = if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.')
        } else {
            &text
        };
        if matches!(text, "-0" | "") { "0".into() } else { text.into() }
    }
}

/// Pixels in memory, red, green and blue, row by row. Letters come from a table, so that a
/// picture is the same on every machine and needs no font there.
struct Canvas(Vec<u8>);

impl Canvas {
    fn new() -> Self {
        let (width, height) = SIZE;
        Self(vec![255; width as usize * height as usize * 3])
    }

    fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, SIZE.0, SIZE.1);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.0)?;
        writer.finish()?;
        Ok(bytes)
    }
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl DrawingBackend for &mut Canvas {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        SIZE
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, colour: BackendColor) -> Drawn {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return Ok(()) };
        if x < SIZE.0 && y < SIZE.1 {
            let at = (y as usize * SIZE.0 as usize + x as usize) * 3;
            let (red, green, blue) = colour.rgb;
            for (below, above) in self.0[at..at + 3].iter_mut().zip([red, green, blue]) {
                let mixed =
                    f64::from(*below) * (1.0 - colour.alpha) + f64::from(above) * colour.alpha;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it lies between two bytes"
                )]
                let mixed = mixed.round() as u8;
                *below = mixed;
            }
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Drawn {
        let (width, height) = letters(text);
        let anchor = style.anchor();
        let left = match anchor.h_pos {
            HPos::Left => 0,
            HPos::Center => -width / 2,
            HPos::Right => -width,
        };
        let top = match anchor.v_pos {
            VPos::Top => 0,
            VPos::Center => -height / 2,
            VPos::Bottom => -height,
        };
        let BackendColor { alpha, rgb } = style.color();
        for (nth, letter) in (0..).zip(text.chars()) {
            let known = get_raster(letter, FontWeight::Regular, HEIGHT);
            let Some(raster) = known.or_else(|| get_raster('?', FontWeight::Regular, HEIGHT))
            else {
                continue;
            };
            for (y, row) in (0..).zip(raster.rows()) {
                for (x, &shade) in (0..).zip(row) {
                    let (x, y) =
                        style.transform().transform(left + nth * letter_width() + x, top + y);
                    let alpha = alpha * f64::from(shade) / 255.0;
                    self.draw_pixel((at.0 + x, at.1 + y), BackendColor { alpha, rgb })?;
                }
            }
        }
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        _style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let (width, height) = letters(text);
        Ok((width.unsigned_abs(), height.unsigned_abs()))
    }
}

/// The height of a letter, whatever the style asks for.
const HEIGHT: RasterHeight = RasterHeight::Size16;

#[expect(clippy::cast_possible_wrap, clippy::cast_possible_truncation, reason = "some pixels")]
fn letter_width() -> i32 {
    get_raster_width(FontWeight::Regular, HEIGHT) as i32
}

/// How much room a text takes.
#[expect(clippy::cast_possible_wrap, clippy::cast_possible_truncation, reason = "some pixels")]
fn letters(text: &str) -> (i32, i32) {
    (text.chars().count() as i32 * letter_width(), HEIGHT.val() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_at_an_axis_are_as_long_as_its_ticks_need() {
        let texts = |range, values: &[f64]| {
            values.iter().map(labels(&range, false)).collect::<Vec<String>>().join(" ")
        };
        assert_eq!(texts(0.5..0.95, &[0.5, 0.55, 0.9]), "0.5 0.55 0.9");
        assert_eq!(texts(0.99..0.9999, &[0.99, 0.9995, 0.9999]), "0.99 0.9995 0.9999");
        assert_eq!(texts(0.0..200.0, &[0.0, 50.0, 200.0]), "0 50 200");
        assert_eq!(texts(0.0..0.000_4, &[0.0, 0.000_15]), "0 0.00015");
        assert_eq!(texts(6.0..9.0, &[6.0, 6.5]), "6 6.5");
        let log = labels(&(0.0001..1000.0), true);
        let texts = [0.0001, 0.05, 1.0, 1.25, 20.0, 1000.0].map(|value| log(&value));
        assert_eq!(texts, ["0.0001", "0.05", "1", "1.25", "20", "1000"]);
    }

    #[test]
    fn ticks_are_below() {
        let ticks = [1.395, 1.0, 0.03, 7.0, 230.0].map(tick);
        for (tick, expected) in ticks.into_iter().zip([1.0, 1.0, 0.02, 5.0, 200.0]) {
            assert!((tick / expected - 1.0).abs() < 1e-9, "{tick}, not {expected}");
        }
    }

    /// Of one point there is no line to see.
    #[test]
    fn points_are_marked() {
        let axes = Axes { title: "t", x: "x", y: "y", log_x: false, log_y: false };
        let series = [Series { name: String::new(), points: vec![(0.5, 1.0)] }];
        let mut canvas = Canvas::new();
        paint(&mut canvas, &axes, &series).unwrap();
        let blue = canvas.0.chunks(3).filter(|pixel| *pixel == [0, 114, 178]).count();
        // Beside the sample of its colour, 25 pixels by 2.
        assert!(blue > 60, "{blue} pixels");
    }

    #[test]
    fn the_second_round_of_colours_is_dashed() {
        assert_eq!([0, 6, 7, 13, 14].map(|nth| style(nth).1), [false, false, true, true, false]);
    }

    /// Both formats come, with the line in its colour.
    #[test]
    fn a_line_is_drawn_in_both_formats() {
        let folder = tempfile::tempdir().unwrap();
        let axes = Axes { title: "t", x: "x", y: "y", log_x: false, log_y: true };
        let series = [Series { name: "one".into(), points: vec![(0.0, 1.0), (1.0, 100.0)] }];
        let svg = folder.path().join("a.svg");
        draw(&svg, &axes, &series).unwrap();
        let text = fs::read_to_string(svg).unwrap();
        assert!(text.contains("one") && text.contains("#0072B2"), "{text}");
        let mut canvas = Canvas::new();
        paint(&mut canvas, &axes, &series).unwrap();
        let blue = canvas.0.chunks(3).filter(|pixel| *pixel == [0, 114, 178]).count();
        let dark = canvas.0.chunks(3).filter(|pixel| pixel[0] < 50 && pixel[2] < 50).count();
        assert!(blue > 500, "{blue} pixels of the line");
        assert!(dark > 300, "{dark} pixels of letters");
        assert!(canvas.png().unwrap().starts_with(b"\x89PNG"));
    }
}
