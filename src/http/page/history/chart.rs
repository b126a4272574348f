//! Geometry of the charts, which `page/templates/history_chart.html` writes as SVG. Places along the time axis and lengths of bars are percentages, so
//! that a chart has the width of its panel and its texts keep their size; heights are pixels.

use super::ticks::Scale;

/// Height of a chart with its labels, in pixels.
const HEIGHT: f64 = 196.0;
/// Space above the largest tick, for labels of points.
const TOP: f64 = 18.0;
/// Space below the axis, for its labels.
const BOTTOM: f64 = 24.0;
/// Largest number of labels on the time axis: as many as fit at 360 pixels.
const MOST_LABELS: usize = 6;
/// Largest number of points that each have a label.
const MOST_POINT_LABELS: usize = 5;
/// Widest column, in percent, so that a single one is no wall.
const WIDEST: f64 = 8.0;
/// Shortest bar of a value above zero, in percent.
const SHORTEST: f64 = 0.6;

/// One place on the time axis.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Text of the axis, where there is room.
    pub label: String,
    /// Text at the pointer: time and values.
    pub tip: String,
    /// Values that are stacked in a column, or the only one of a point; empty for a gap.
    pub values: Vec<f64>,
}

#[derive(Clone, Debug)]
pub struct ChartTexts {
    /// Prefix of ids in the document.
    pub id: &'static str,
    /// Name for screen readers.
    pub title: String,
    /// Summary for screen readers, which are pointed to the table.
    pub description: String,
    /// Names of the stacked values; empty for a single one.
    pub legend: Vec<String>,
}

/// A text at a place: `x` in percent, `y` in pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub x: f64,
    pub y: f64,
    pub text: String,
}

/// A rectangle: `x` and `width` in percent, `y` and `height` in pixels. `series` is the place of its value in the stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub series: usize,
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// Everything at one place on the time axis.
#[derive(Clone, Debug)]
pub struct Column {
    pub tip: String,
    /// Area that shows the tip.
    pub area: Part,
    pub parts: Vec<Part>,
    /// Height of the point of a line chart.
    pub point: Option<f64>,
    pub middle: f64,
}

/// A piece of a line between two points.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    pub x1: f64,
    pub y1: f64,
    pub x2: f64,
    pub y2: f64,
}

/// A chart over time.
#[derive(Clone, Debug)]
pub struct Chart {
    pub texts: ChartTexts,
    pub height: f64,
    /// Heights and texts of the ticks, zero included.
    pub ticks: Vec<Label>,
    pub labels: Vec<Label>,
    pub columns: Vec<Column>,
    pub segments: Vec<Segment>,
    pub point_labels: Vec<Label>,
}

impl Chart {
    /// Columns of stacked values.
    pub fn columns(texts: ChartTexts, slots: &[Slot], scale: Scale, format: impl Fn(f64) -> String) -> Self {
        Self::new(texts, slots, scale, format, true)
    }

    /// Points joined by lines, where neighbours have values.
    pub fn line(texts: ChartTexts, slots: &[Slot], scale: Scale, format: impl Fn(f64) -> String) -> Self {
        let mut chart = Self::new(texts, slots, scale, &format, false);
        let points: Vec<Option<(f64, f64)>> = chart.columns.iter().map(|c| Some((c.middle, c.point?))).collect();
        for pair in points.windows(2) {
            if let [Some((x1, y1)), Some((x2, y2))] = *pair {
                chart.segments.push(Segment { x1, y1, x2, y2 });
            }
        }
        let valued: Vec<usize> = (0..slots.len()).filter(|&at| points[at].is_some()).collect();
        let value = |at: usize| slots[at].values.first().copied().unwrap_or_default();
        let largest = valued.iter().copied().max_by(|&a, &b| value(a).total_cmp(&value(b)));
        let is_labelled = |at: usize| valued.len() <= MOST_POINT_LABELS || Some(at) == largest;
        for &at in valued.iter().filter(|&&at| is_labelled(at)) {
            if let Some((x, y)) = points[at] {
                chart.point_labels.push(Label { x, y: y - 9.0, text: format(value(at)) });
            }
        }
        chart
    }

    /// Width of the ticks' texts with the space beside them, in pixels.
    pub fn axis_width(&self) -> usize {
        let width = |text: &str| text.chars().map(|c| if c.is_ascii() { 7 } else { 13 }).sum::<usize>();
        self.ticks.iter().map(|tick| width(&tick.text)).max().unwrap_or_default() + 10
    }

    fn new(texts: ChartTexts, slots: &[Slot], scale: Scale, format: impl Fn(f64) -> String, stacked: bool) -> Self {
        let largest = slots.iter().map(|slot| slot.values.iter().sum()).fold(0.0, f64::max);
        let ticks = scale.ticks(largest);
        let top = ticks.last().copied().unwrap_or(1.0);
        let plot = HEIGHT - TOP - BOTTOM;
        let y = |value: f64| short(TOP + plot * (1.0 - value / top));
        let ticks =
            [0.0].into_iter().chain(ticks).map(|tick| Label { x: 0.0, y: y(tick), text: format(tick) }).collect();
        let width = 100.0 / count(slots.len().max(1));
        let every = slots.len().div_ceil(MOST_LABELS).max(1);
        let mut labels = Vec::new();
        let mut columns = Vec::new();
        for (at, slot) in slots.iter().enumerate() {
            let left = width * count(at);
            let middle = short(left + width / 2.0);
            if at % every == 0 {
                labels.push(Label { x: middle, y: HEIGHT - 6.0, text: slot.label.clone() });
            }
            let thick = short((width * 0.76).min(WIDEST));
            let (mut parts, mut below) = (Vec::new(), 0.0);
            for (series, value) in slot.values.iter().enumerate().filter(|(_, value)| stacked && **value > 0.0) {
                let height = short((y(below) - y(below + value)).max(1.0));
                let (x, y) = (short(middle - thick / 2.0), short(y(below) - height));
                parts.push(Part { series, x, y, width: thick, height });
                below += value;
            }
            let point = slot.values.first().filter(|_| !stacked).map(|value| y(*value));
            let area = Part { series: 0, x: short(left), y: TOP, width: short(width), height: plot };
            columns.push(Column { tip: slot.tip.clone(), area, parts, point, middle });
        }
        let (segments, point_labels) = (Vec::new(), Vec::new());
        Self { texts, height: HEIGHT, ticks, labels, columns, segments, point_labels }
    }
}

/// Parts of a horizontal bar of stacked values, in percent of the longest bar.
pub fn bar(values: &[f64], longest: f64) -> Vec<Part> {
    let mut left = 0.0;
    let mut parts = Vec::new();
    for (series, value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0 && longest > 0.0) {
        let width = short((100.0 * value / longest).clamp(SHORTEST, 100.0).min(100.0 - left));
        parts.push(Part { series, x: short(left), y: 0.0, width, height: 10.0 });
        left += width;
    }
    parts
}

/// A place with two decimals, so that the document is not full of digits.
fn short(place: f64) -> f64 {
    (place * 100.0).round() / 100.0
}

/// A small number of things.
fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> ChartTexts {
        ChartTexts { id: "c", title: String::new(), description: String::new(), legend: Vec::new() }
    }

    fn slots(values: &[&[f64]]) -> Vec<Slot> {
        let slot = |(at, values): (usize, &&[f64])| Slot {
            label: at.to_string(),
            tip: String::new(),
            values: values.to_vec(),
        };
        values.iter().enumerate().map(slot).collect()
    }

    fn whole(value: f64) -> String {
        format!("{value:.0}")
    }

    #[test]
    fn columns_stack_from_the_axis() {
        let chart = Chart::columns(texts(), &slots(&[&[3.0, 1.0], &[0.0, 0.0]]), Scale::Count, whole);
        let parts = &chart.columns[0].parts;
        assert_eq!((parts[0].series, parts[1].series), (0, 1));
        assert!((parts[0].y + parts[0].height - (HEIGHT - BOTTOM)).abs() < 0.03, "{parts:?}");
        assert!((parts[1].y + parts[1].height - parts[0].y).abs() < 0.03, "{parts:?}");
        assert!((parts[1].y - TOP).abs() < 0.03, "{parts:?}");
        assert!(chart.columns[1].parts.is_empty());
        let ticks: Vec<&str> = chart.ticks.iter().map(|tick| tick.text.as_str()).collect();
        assert_eq!(ticks, ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn single_column_is_narrow_and_tiny_values_are_visible() {
        let one = Chart::columns(texts(), &slots(&[&[5.0]]), Scale::Count, whole);
        assert!(one.columns[0].parts[0].width <= WIDEST);
        let tiny = Chart::columns(texts(), &slots(&[&[1.0], &[1e12]]), Scale::Count, whole);
        assert!(tiny.columns[0].parts[0].height >= 1.0);
        let empty = Chart::columns(texts(), &[], Scale::Count, whole);
        assert_eq!((empty.columns.len(), empty.ticks.len()), (0, 2));
    }

    #[test]
    fn lines_end_at_gaps() {
        let chart = Chart::line(texts(), &slots(&[&[1.0], &[2.0], &[], &[4.0]]), Scale::Count, whole);
        assert_eq!(chart.segments.len(), 1);
        assert_eq!(chart.point_labels.len(), 3);
        let one = Chart::line(texts(), &slots(&[&[7.0]]), Scale::Count, whole);
        assert_eq!((one.segments.len(), one.point_labels.len()), (0, 1));
    }

    #[test]
    fn labels_fit_a_narrow_screen() {
        let values: Vec<&[f64]> = vec![&[1.0]; 93];
        let chart = Chart::line(texts(), &slots(&values), Scale::Count, whole);
        assert!(chart.labels.len() <= MOST_LABELS && chart.point_labels.len() == 1);
    }

    #[test]
    fn bars_never_exceed_their_cell() {
        for (values, longest) in [(vec![1.0, 1e9], 1e9), (vec![5.0], 5.0), (vec![0.0, 3.0], 3.0)] {
            let parts = bar(&values, longest);
            let width: f64 = parts.iter().map(|part| part.width).sum();
            assert!(width > 99.0 && width < 100.01, "{values:?}: {parts:?}");
        }
        assert!(bar(&[0.0], 0.0).is_empty());
    }
}
