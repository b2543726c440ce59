//! Tables: aligned columns of text, wide characters counted as a terminal draws them. Pure.

use unicode_width::UnicodeWidthStr as _;

/// Which side of its column a cell stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// A head and rows, two spaces between columns, none at a line's end. Empty without rows. A row may be
/// shorter than the head; a line end in a cell becomes a space.
pub fn render(head: &[(&str, Side)], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let flat = |cell: &str| cell.replace(['\n', '\r', '\t'], " ");
    let first: Vec<String> = head.iter().map(|(name, _)| flat(name)).collect();
    let lines: Vec<Vec<String>> = std::iter::once(first)
        .chain(rows.iter().map(|row| row.iter().map(|cell| flat(cell)).collect()))
        .collect();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
    };
    let columns: Vec<(usize, Side)> =
        head.iter().enumerate().map(|(column, (_, side))| (width(column), *side)).collect();
    let mut text = String::new();
    for line in &lines {
        let mut drawn = String::new();
        for (column, (width, side)) in columns.iter().enumerate() {
            let cell = line.get(column).map_or("", String::as_str);
            let space = " ".repeat(width.saturating_sub(cell.width()));
            let gap = if column == 0 { "" } else { "  " };
            match side {
                Side::Left => drawn.extend([gap, cell, &space]),
                Side::Right => drawn.extend([gap, &space, cell]),
            }
        }
        text.push_str(drawn.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_as_a_terminal_draws_them() {
        let head = [("SERVICE", Side::Left), ("VERSION", Side::Left), ("SIZE", Side::Right)];
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let rows = [row(&["gateway", "1.2.0", "12.3 MB"]), row(&["注文", "0.1.0", "9 B"]), row(&["a\nb"])];
        let expected = "\
SERVICE  VERSION     SIZE
gateway  1.2.0    12.3 MB
注文     0.1.0        9 B
a b
";
        assert_eq!(render(&head, &rows), expected);
        assert_eq!(render(&head, &[]), "");
    }
}
