//! Columns for people.

/// Lays rows out in columns two or more blanks wide apart; the last column is not padded.
pub(crate) fn columns(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line = format!("{line}{cell:<width$}   ", width = *width);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Cuts text to a number of characters, the last of them an ellipsis if something was lost.
pub(crate) fn short(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Bytes as people read them: `4.03MB`, powers of ten as docker prints sizes.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut scaled = u128::from(bytes) * 100;
    let mut unit = UNITS[0];
    for next in UNITS.into_iter().skip(1) {
        if scaled < 100_000 {
            break;
        }
        scaled /= 1000;
        unit = next;
    }
    match unit {
        "B" => format!("{bytes}B"),
        _ => format!("{}.{:02}{unit}", scaled / 100, scaled % 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        let rows = [
            vec!["a".to_owned(), "x".to_owned()],
            vec!["long".to_owned(), String::new()],
        ];
        assert_eq!(
            columns(&["ID", "NAME"], &rows),
            "ID     NAME\na      x\nlong\n"
        );
    }

    #[test]
    fn text_is_cut_by_characters() {
        assert_eq!(short("äöüß", 4), "äöüß");
        assert_eq!(short("äöüßx", 4), "äöü…");
    }

    #[test]
    fn sizes_are_decimal() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1_000, "1.00kB"),
            (4_030_000, "4.03MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
