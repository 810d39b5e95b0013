//! Draws how long tenants wait: what part of their jobs has been handed out after how many seconds.

use plotters::prelude::*;
use std::path::Path;

const SIZE: (u32, u32) = (1260, 340);
const COLORS: [RGBColor; 2] = [RGBColor(200, 80, 40), RGBColor(30, 100, 180)];
/// More would only make the file larger.
const POINTS: usize = 200;

/// One way to serve the queue.
pub struct Panel {
    pub title: &'static str,
    pub curves: Vec<Curve>,
}

/// The waits of one tenant, or of several that are alike.
pub struct Curve {
    pub name: &'static str,
    /// Seconds, sorted.
    pub waits: Vec<f64>,
}

/// Writes `benches/<name>.svg`, the panels side by side and with the same axes.
pub fn draw(name: &str, panels: &[Panel]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(format!("{name}.svg"));
    let longest = panels.iter().flat_map(|panel| &panel.curves).filter_map(|curve| curve.waits.last());
    let longest = longest.copied().fold(0.0, f64::max);
    let area = SVGBackend::new(&path, SIZE).into_drawing_area();
    area.fill(&WHITE).expect("a file can be drawn to");
    for (panel, area) in panels.iter().zip(area.split_evenly((1, panels.len()))) {
        draw_panel(panel, longest, &area);
    }
    area.present().unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
    eprintln!("drawn: benches/{name}.svg");
}

fn draw_panel(panel: &Panel, longest: f64, area: &DrawingArea<SVGBackend, plotters::coord::Shift>) {
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..longest, 0.0..100.0)
        .expect("the axes fit");
    let mut mesh = chart.configure_mesh();
    let labels = mesh.x_desc("waited at most, s").y_desc("% of the jobs").x_labels(6).y_labels(6);
    labels.light_line_style(TRANSPARENT).draw().expect("a file can be drawn to");
    for (curve, color) in panel.curves.iter().zip(COLORS) {
        let count = curve.waits.len();
        let points = (0..=POINTS).map(|point| {
            let share = point as f64 / POINTS as f64;
            (crate::harness::quantile(&curve.waits, share), share * 100.0)
        });
        let line = LineSeries::new(points, color.stroke_width(2));
        let drawn = chart.draw_series(line).expect("a file can be drawn to");
        drawn
            .label(format!("{} ({count})", curve.name))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    let mut legend = chart.configure_series_labels();
    let legend = legend.position(SeriesLabelPosition::LowerRight).border_style(BLACK.mix(0.3));
    legend.background_style(WHITE.mix(0.8)).draw().expect("a file can be drawn to");
}
