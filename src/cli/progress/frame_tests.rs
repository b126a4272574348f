use super::*;

/// The little of a terminal that [`ProgressArea`] needs: wrapping, moving up, erasing what follows.
struct Screen {
    columns: usize,
    rows: Vec<String>,
    row: usize,
    column: usize,
}

impl Screen {
    fn new(columns: usize) -> Self {
        Self { columns, rows: vec![String::new()], row: 0, column: 0 }
    }

    fn feed(&mut self, text: &str) {
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '\r' => self.column = 0,
                '\n' => self.next_row(),
                '\u{1b}' => {
                    let sequence: String = rest.by_ref().skip(1).take_while_inclusive();
                    let (number, command) = sequence.split_at(sequence.len() - 1);
                    match command {
                        "A" => self.row -= number.parse::<usize>().unwrap(),
                        "J" => {
                            assert_eq!(self.column, 0);
                            self.rows.truncate(self.row);
                            self.rows.push(String::new());
                        }
                        "m" => {}
                        other => panic!("{other}"),
                    }
                }
                c => {
                    if self.column + c.width().unwrap() > self.columns {
                        self.next_row();
                    }
                    self.rows[self.row].push(c);
                    self.column += c.width().unwrap();
                }
            }
        }
    }

    fn next_row(&mut self) {
        self.column = 0;
        self.row += 1;
        if self.row == self.rows.len() {
            self.rows.push(String::new());
        }
    }
}

trait TakeWhileInclusive {
    fn take_while_inclusive(self) -> String;
}

impl<I: Iterator<Item = char>> TakeWhileInclusive for I {
    fn take_while_inclusive(self) -> String {
        let mut sequence = String::new();
        for c in self {
            sequence.push(c);
            if c.is_ascii_alphabetic() {
                break;
            }
        }
        sequence
    }
}

fn progress() -> ProgressArea {
    let mut progress =
        ProgressArea {
            reached: 3, now: "[Stage 1] Docker 이미지 빌드 시작...".to_owned(), ..ProgressArea::default()
        };
    for number in 1..=7 {
        progress.push_output(format!("line {number} 컴파일 {}", "x".repeat(60)));
    }
    progress
}

#[test]
fn fits_any_terminal() {
    for columns in 0..=120 {
        for rows in [0, 1, 2, 4, 24] {
            let frame = progress().frame(Size { columns, rows }, Duration::from_secs(3_723), 1, true);
            assert!(frame.len() < rows.max(1), "{columns}x{rows}: {frame:?}");
            assert!(frame.iter().all(|line| line.columns < columns.max(1)), "{columns}x{rows}: {frame:?}");
        }
    }
}

#[test]
fn shows_the_last_lines_once_and_the_clock() {
    let size = Size { columns: 30, rows: 24 };
    let frame = progress().frame(size, Duration::from_secs(3_723), 0, false);
    let texts: Vec<&str> = frame.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts[0], "████████░░░░░░░░ 3/6 01:02:03");
    assert_eq!(texts[1], "⠋ [Stage 1] Docker 이미지 빌…");
    let tail: Vec<&str> = texts[2..].iter().map(|line| &line[..8]).collect();
    assert_eq!(tail, ["  line 3", "  line 4", "  line 5", "  line 6", "  line 7"]);
    let narrow = progress().frame(Size { columns: 9, rows: 2 }, Duration::ZERO, 0, false);
    assert_eq!(narrow.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["3/6 00:…"]);
}

#[test]
fn repaints_leave_nothing_behind() {
    for columns in [10, 23, 40, 80] {
        let mut screen = Screen::new(columns);
        let mut drawn: Vec<Line> = Vec::new();
        for tick in 0..4 {
            screen.feed(&erase(&drawn, columns));
            screen.feed(&format!("✓ event {tick} {}\r\n", "y".repeat(50)));
            drawn = progress().frame(Size { columns, rows: 24 }, Duration::ZERO, tick, true);
            for line in &drawn {
                screen.feed(&format!("{}\r\n", line.text));
            }
        }
        let text = screen.rows.concat();
        for shown in ["event 0", "event 3", "line 7", "3/6"] {
            assert_eq!(text.matches(shown).count(), 1, "{columns} columns, {shown}: {:#?}", screen.rows);
        }
    }
}

#[test]
fn erases_lines_that_a_narrower_terminal_has_wrapped() {
    let line = |columns| Line { text: "x".repeat(columns), columns };
    assert_eq!(erase(&[line(70), line(20), line(0)], 80), "\r\u{1b}[3A\u{1b}[J");
    assert_eq!(erase(&[line(70), line(20), line(0)], 30), "\r\u{1b}[5A\u{1b}[J");
    assert_eq!(erase(&[], 80), "");
}
