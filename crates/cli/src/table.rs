//! Tables for people.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Columns of a table that goes into a file or a pipe.
const UNSEEN_WIDTH: u16 = 140;

/// A table that keeps within the terminal's width.
pub(crate) fn new(header: &[&str]) -> Table {
    let width = terminal_size::terminal_size().map_or(UNSEEN_WIDTH, |(width, _)| width.0);
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(header.to_vec());
    table
}

/// Puts columns flush right, as numbers are.
pub(crate) fn align_numbers(table: &mut Table, columns: &[usize]) {
    for &column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
