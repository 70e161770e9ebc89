//! Documents about a set of results. Pure: strings and bytes out, no files touched.
