//! `tollgate policy calibrate`: what a floor costs, as a table and a picture.
//!
//! Why it exists: floors are bargained over in dollars and prompts, not in hundredths. What it refuses to know: how
//! plans are made.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::super::args::CalibrateArgs;
use super::super::console::{Console, Style};
use super::super::exit::{Exit, Failure};
use super::super::table::{Align, Sheet};
use super::super::wire::Usd;
use super::{log, read};
use crate::domain::money::Money;
use crate::policy::replay::calibrate::{Frontier, Point, calibrate, days};

pub(super) async fn run(args: &CalibrateArgs, console: Console) -> Result<Exit, Failure> {
    let snapshot = read(&args.policy)?;
    let log = log::read(&args.ledger, args.since).await?;
    let (frontiers, days) = (calibrate(&log, &snapshot), days(&log));
    if frontiers.is_empty() {
        return Err(Failure::usage("no request of that time took its floor from the policy")
            .help("requests that name a number for `quality` keep it, whatever the policy says"));
    }
    if let Some(file) = &args.plot {
        std::fs::write(file, plot(&frontiers, days))
            .map_err(|why| Failure::usage(format!("{} cannot be written: {why}", file.display())))?;
        console.say(format_args!("the frontier is drawn in {}", file.display()));
    }
    if console.json {
        console.value(&json!({"policy": snapshot.digest, "days": days,
            "tiers": frontiers.iter().map(|one| as_json(one, days)).collect::<Vec<_>>()}))?;
        return Ok(Exit::Ok);
    }
    for frontier in &frontiers {
        table(frontier, days, console)?;
    }
    Ok(Exit::Ok)
}

fn as_json(frontier: &Frontier, days: f64) -> Value {
    let point = |point: &Point| {
        json!({"floor": point.floor, "usd_per_day": Usd(daily(point.cost, days)), "accept": point.accept,
            "touched": point.touched, "refused": point.refused})
    };
    json!({"tier": frontier.tier, "floor": frontier.present, "requests": frontier.requests,
        "points": frontier.points.iter().map(point).collect::<Vec<_>>()})
}

fn table(frontier: &Frontier, days: f64, console: Console) -> Result<(), Failure> {
    let Some(now) = frontier.now() else { return Ok(()) };
    console.data(format_args!(
        "tier {}: floor {:.2}, {} requests in {days:.1} days",
        frontier.tier, frontier.present, frontier.requests
    ))?;
    let right = |name| (name, Align::Right);
    let columns = [
        right("floor"),
        right("$ a day"),
        right("change"),
        right("expected accept"),
        right("touched"),
        right("refused"),
    ];
    let mut sheet = Sheet::new(&columns);
    for point in shown(frontier) {
        let style = (point.floor.to_bits() == now.floor.to_bits()).then_some(Style::Bold);
        let cells = vec![
            format!("{:.2}", point.floor),
            dollars(daily(point.cost, days)),
            super::replay::signed(daily(now.cost, days), daily(point.cost, days)),
            format!("{:.2}", point.accept),
            format!("{:.0} %", share(point.touched, frontier.requests)),
            point.refused.to_string(),
        ];
        sheet.row(cells, style);
    }
    console.data(sheet.render(console.styles_data()))?;
    let below = frontier.points.iter().rfind(|point| point.floor < now.floor);
    let above = frontier.points.iter().find(|point| point.floor > now.floor);
    below.into_iter().chain(above).try_for_each(|point| console.data(sentence(frontier, now, point, days)))
}

/// `floor 0.80 → 0.75 would save $1.20 a day and touch 14 % of prompts`.
fn sentence(frontier: &Frontier, now: &Point, point: &Point, days: f64) -> String {
    let (before, after) = (daily(now.cost, days), daily(point.cost, days));
    let money = if after <= before {
        format!("save {} a day", dollars(before.less(after)))
    } else {
        format!("cost {} a day more", dollars(after.less(before)))
    };
    let refused = match point.refused.saturating_sub(now.refused) {
        0 => String::new(),
        some => format!(", and refuse {some} requests more"),
    };
    let touched = share(point.touched, frontier.requests);
    format!("floor {:.2} → {:.2} would {money} and touch {touched:.0} % of prompts{refused}", now.floor, point.floor)
}

/// Floors that change nothing against the one before are left out.
fn shown(frontier: &Frontier) -> Vec<&Point> {
    let mut kept: Vec<&Point> = Vec::new();
    for point in &frontier.points {
        let is_now = point.floor.to_bits() == frontier.present.to_bits();
        let same = |last: &&Point| last.cost == point.cost && last.refused == point.refused;
        if is_now || !kept.last().is_some_and(same) {
            kept.push(point);
        }
    }
    kept
}

fn share(part: usize, all: usize) -> f64 {
    part as f64 / all.max(1) as f64 * 100.0
}

#[expect(clippy::cast_possible_truncation, reason = "saturates far above any spend")]
fn daily(cost: Money, days: f64) -> Money {
    Money::from_micros((cost.micros() as f64 / days).round() as i64)
}

fn dollars(money: Money) -> String {
    format!("${:.2}", money.micros() as f64 / 1e6)
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const EDGE: f64 = 56.0;
const COLOURS: [&str; 4] = ["#2563eb", "#d97706", "#059669", "#9333ea"];

/// Dollars a day to the right, expected acceptance upwards, one line a tier, its present floor as the larger dot.
fn plot(frontiers: &[Frontier], days: f64) -> String {
    let costs = frontiers.iter().flat_map(|one| &one.points).map(|point| daily(point.cost, days).micros() as f64 / 1e6);
    let axes = Axes { most: costs.fold(0.01_f64, f64::max) * 1.05, days };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\">\n<title>Dollars a day against expected acceptance, by floor</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    // Writing to a string cannot fail.
    let _ = axes.draw(&mut svg);
    for (frontier, colour) in frontiers.iter().zip(COLOURS.iter().cycle()) {
        let _ = axes.line(&mut svg, frontier, colour);
    }
    svg.push_str("</svg>\n");
    svg
}

struct Axes {
    /// The right end, in dollars a day.
    most: f64,
    days: f64,
}

impl Axes {
    fn x(&self, cost: Money) -> f64 {
        EDGE + (WIDTH - 2.0 * EDGE) * (daily(cost, self.days).micros() as f64 / 1e6) / self.most
    }

    fn y(accept: f64) -> f64 {
        HEIGHT - EDGE - (HEIGHT - 2.0 * EDGE) * accept
    }

    fn draw(&self, svg: &mut String) -> fmt::Result {
        let (left, right, bottom) = (EDGE - 8.0, WIDTH - EDGE, HEIGHT - EDGE + 20.0);
        for tick in 0..=4 {
            let share = f64::from(tick) / 4.0;
            let (x, y) = (EDGE + (WIDTH - 2.0 * EDGE) * share, Self::y(share));
            let (text, usd) = (y + 4.0, self.most * share);
            writeln!(svg, "<path d=\"M{EDGE} {y:.1}H{right}\" stroke=\"#e5e7eb\"/>")?;
            writeln!(svg, "<text x=\"{left}\" y=\"{text:.1}\" text-anchor=\"end\" fill=\"#4b5563\">{share:.2}</text>")?;
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{bottom}\" text-anchor=\"middle\" fill=\"#4b5563\">${usd:.2}</text>"
            )?;
        }
        let (middle, foot, head) = (WIDTH / 2.0, HEIGHT - 14.0, EDGE - 20.0);
        writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{foot}\" text-anchor=\"middle\" fill=\"#111827\">dollars a day</text>"
        )?;
        writeln!(svg, "<text x=\"{EDGE}\" y=\"{head}\" fill=\"#111827\">expected acceptance</text>")
    }

    fn line(&self, svg: &mut String, frontier: &Frontier, colour: &str) -> fmt::Result {
        let points = || frontier.points.iter().filter(|point| point.refused < frontier.requests);
        let path: Vec<String> =
            points().map(|point| format!("{:.1},{:.1}", self.x(point.cost), Self::y(point.accept))).collect();
        writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>", path.join(" "))?;
        for point in points() {
            let (x, y) = (self.x(point.cost), Self::y(point.accept));
            let now = point.floor.to_bits() == frontier.present.to_bits();
            let radius = if now { 5 } else { 2 };
            writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\"/>")?;
            if now {
                let (x, y, tier, floor) = (x + 8.0, y - 8.0, escaped(&frontier.tier), point.floor);
                writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{tier} {floor:.2}</text>")?;
            }
        }
        Ok(())
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
