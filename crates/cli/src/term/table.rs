//! A small table: a header, aligned columns, no lines.

use std::fmt;

use super::style::BOLD;
use crate::failure::printable;

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of text under a header.
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|&(name, align)| (name.to_string(), align)).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row; cells past the last column are left out.
    pub(crate) fn row<T: ToString>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(|c| printable(&c.to_string())).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = |text: &str| text.chars().count();
        let width = |idx: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(idx)).map(|cell| len(cell));
            cells.max().unwrap_or(0).max(len(&self.columns[idx].0))
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |f: &mut fmt::Formatter<'_>, cells: &mut dyn Iterator<Item = &str>, bold: bool| {
            let mut text = String::new();
            for (idx, cell) in cells.take(widths.len()).enumerate() {
                let pad = " ".repeat(widths[idx] - len(cell));
                let gap = if idx == 0 { "" } else { "  " };
                text += &match self.columns[idx].1 {
                    Align::Left => format!("{gap}{cell}{pad}"),
                    Align::Right => format!("{gap}{pad}{cell}"),
                };
            }
            match bold {
                true => writeln!(f, "{BOLD}{}{BOLD:#}", text.trim_end()),
                false => writeln!(f, "{}", text.trim_end()),
            }
        };
        if self.columns.iter().any(|(name, _)| !name.is_empty()) {
            line(f, &mut self.columns.iter().map(|(name, _)| name.as_str()), true)?;
        }
        self.rows.iter().try_for_each(|row| line(f, &mut row.iter().map(String::as_str), false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("name", Align::Left), ("B", Align::Right)]);
        table.row(["°C", "12"]);
        table.row(["humidity", "3"]);
        let plain = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(plain, "name       B\n°C        12\nhumidity   3\n");
        let mut nameless = Table::new(&[("", Align::Left), ("", Align::Right)]);
        nameless.row(["a", "1"]);
        assert_eq!(nameless.to_string(), "a  1\n");
    }
}
