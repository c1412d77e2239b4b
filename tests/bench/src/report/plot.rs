//! A plot of throughput by block size.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::measure::SIZES;
use crate::results::{Placement, Results};
use crate::server::Kind;

const PICTURE: (u32, u32) = (840, 500);
const FONT: &str = "sans-serif";

/// The lines: whose, of which rows, and their colour.
const LINES: [(Kind, &str, RGBColor); 5] = [
    (Kind::Floor, "read", RGBColor(140, 140, 140)),
    (Kind::Guestd, "read", RGBColor(0, 114, 178)),
    (Kind::Guestd, "write", RGBColor(86, 180, 233)),
    (Kind::QemuGa, "read", RGBColor(213, 94, 0)),
    (Kind::QemuGa, "write", RGBColor(230, 159, 0)),
];

/// Draws what was measured on one processor, as SVG.
pub fn plot(results: &Results) -> Result<String> {
    let mut text = String::new();
    draw(results, &mut text).map_err(|error| anyhow!("the plot cannot be drawn: {error}"))?;
    Ok(text)
}

fn draw(results: &Results, text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(text, PICTURE).into_drawing_area();
    area.fill(&WHITE)?;
    let last = SIZES.len() as f64 - 1.0;
    let mut chart = ChartBuilder::on(&area)
        .caption("Throughput of guest-file-read and -write by block size", (FONT, 20))
        .margin(15)
        .x_label_area_size(45)
        .y_label_area_size(70)
        .build_cartesian_2d(-0.2..last + 0.2, (10.0..20_000.0).log_scale())?;
    let size = |place: &f64| SIZES.get(place.round() as usize).map_or(String::new(), |size| size.name.to_owned());
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(SIZES.len())
        .x_label_formatter(&size)
        .y_label_formatter(&|value| format!("{value}"))
        .x_desc("bytes of the file in a request")
        .y_desc("MB/s (logarithmic)")
        .label_style((FONT, 14))
        .draw()?;
    for (kind, verb, colour) in LINES {
        let points = SIZES.iter().enumerate().filter_map(|(place, size)| {
            Some((place as f64, results.median(Placement::Pinned, &format!("{verb} {}", size.name), kind)?))
        });
        let points: Vec<_> = points.collect();
        if points.is_empty() {
            continue;
        }
        let label = if kind == Kind::Floor { "the socket itself".to_owned() } else { format!("{kind}, {verb}") };
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(3)).point_size(4))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .label_font((FONT, 14))
        .draw()?;
    area.present()?;
    drop(chart);
    drop(area);
    Ok(())
}
