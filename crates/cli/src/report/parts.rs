//! The parts of the page.

use kinglet_train::fit::{ChannelPicture, FrameSummary};
use kinglet_train::recording::GridBasis;
use maud::{Markup, html};

use super::Report;
use super::chart::{Axes, Layer, chart};
use super::drawn::{binned, histogram, loss, time};
use crate::term::{bytes, seconds, when, years};

impl Report<'_> {
    /// The figures that matter first.
    pub(super) fn sums(&self) -> Markup {
        let e = &self.report.evaluation;
        let held = e.max_error_over_bound.is_none_or(|x| x <= 1.0);
        html! {
            dl.sums {
                div { dd { (format!("{:.1} B", e.payload_bytes_mean)) } dt { "per window of " (self.samples_per_window) " samples" } }
                div { dd { (format!("{:.2}", e.bits_per_value)) } dt { "bits per reading" } }
                @if let Some(error) = e.max_error_over_bound {
                    div class=(if held { "good" } else { "bad" }) {
                        dd { (format!("{error:.2}")) } dt { "largest error in bounds; 1 or less: every bound held" }
                    }
                } @else {
                    div { dd { "none" } dt { "bound: the size is promised, the error measured" } }
                }
                div { dd { (bytes(e.static_bytes as u64)) } dt { "kept on the device" } }
                div { dd { (bytes(e.ram_bytes as u64)) } dt { "RAM to encode" } }
            }
        }
    }

    pub(super) fn data(&self) -> Markup {
        let (report, picture) = (self.report, self.picture);
        html! {
            section {
                h2 { "The recording" }
                p {
                    (report.rows_train) " samples taught, the " (report.rows_test) " after them judged: one every "
                    (seconds(picture.period_ms.into())) ", " (when(picture.t_range_ms.0)) " to " (when(picture.t_range_ms.1)) "."
                }
                @if let Some(understood) = self.understood {
                    details { summary { "what was understood of the file" } pre { (understood) } }
                }
                div.scroll {
                    table {
                        tr { th { "channel" } th.n { "step" } th { "which is" } th.n { "asked" } th.n { "bound" } th.n { "deviation" } th.n { "missing" } }
                        @for (c, drawn) in report.channels.iter().zip(&picture.channels) {
                            tr {
                                td { (c.name) @if !c.unit.is_empty() { span.soft { " " (c.unit) } } }
                                td.n { (c.step) }
                                td { (basis(c.basis)) }
                                td.n { (c.asked) }
                                td.n { @if c.bound == "0" { "lossless" } @else { "±" (c.bound) } }
                                td.n { (format!("{:.4}", c.deviation)) }
                                td.n { (drawn.missing) }
                            }
                        }
                    }
                }
                @for channel in &picture.channels { (self.overview(channel)) }
                @if picture.n_gaps == 0 {
                    p.soft.small { "No gaps in time." }
                } @else {
                    p.small {
                        (picture.n_gaps) @if picture.n_gaps == 1 { " gap" } @else { " gaps" } " in time; the longest: "
                        @for (i, gap) in picture.gaps.iter().take(4).enumerate() {
                            @if i > 0 { ", " }
                            (seconds(gap.len_ms)) " after " (when(gap.t_ms))
                        }
                        ". Windows end there."
                    }
                }
            }
        }
    }

    fn overview(&self, channel: &ChannelPicture) -> Markup {
        let (first, last) = self.picture.t_range_ms;
        let points: Vec<_> = channel.overview.iter().map(|c| (c.t_ms as f64, c.low, c.high)).collect();
        if points.is_empty() {
            return html! { h3 { (channel.name) } p.soft { "no readings" } };
        }
        let low = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(|p| p.2).fold(f64::NEG_INFINITY, f64::max);
        let gap = (3.0 * (last - first) as f64 / 480.0).max(2.5 * f64::from(self.picture.period_ms));
        let split = self.picture.t_judged_ms as f64;
        let x = (first as f64, last as f64);
        let label = format!("{} over the whole recording, {low} to {high} {}", channel.name, channel.unit);
        let axes = Axes { x, y: (low, high), x_text: &|t| time(t, x), label: &label };
        html! {
            h3 { (channel.name) @if !channel.unit.is_empty() { span.soft { ", " (channel.unit) } } }
            (chart(&axes, &[
                Layer::Band { class: "area", points: &points, gap },
                Layer::Mark { x: split, text: "judged from here" },
            ]))
        }
    }

    pub(super) fn bytes(&self) -> Markup {
        let e = &self.report.evaluation;
        let lens: Vec<(f64, f64)> =
            self.picture.code_lens.iter().map(|&(n, k)| (n as f64, k as f64)).collect();
        let most = lens.iter().map(|p| p.1).fold(1.0, f64::max);
        let longest = lens.last().map_or(1.0, |p| p.0);
        let shortest = lens.first().map_or(0.0, |p| p.0);
        let rungs = [
            ("hold: nothing moved", e.rungs.hold),
            ("context: trained tables", e.rungs.context),
            ("predict: small network", e.rungs.predict),
            ("latent: autoencoder", e.rungs.latent),
            ("raw: fixed width", e.rungs.raw),
            ("fixed size", e.rungs.fixed),
        ];
        let width = ((longest - shortest) / 60.0).ceil().max(1.0);
        let binned = binned(&lens, shortest, width);
        let most = binned.iter().map(|p| p.1).fold(most, f64::max);
        let axes = Axes {
            x: (shortest - width, longest + width),
            y: (0.0, most),
            x_text: &|x| format!("{x:.0} B"),
            label: "windows by the bytes of their code",
        };
        html! {
            section {
                h2 { "Bytes per window" }
                p {
                    (format!("{:.2}", e.payload_bytes_mean)) " bytes on average, 95 % within " (e.payload_bytes_p95)
                    ", " (e.payload_bytes_max) " at most, over " (e.windows) " windows."
                    @if self.report.sent.samples < self.samples_per_window {
                        " No reading waits longer than " (seconds(self.report.sent.max_delay_ms.into())) ", so windows of "
                        (self.report.sent.samples) " samples go out, " (format!("{:.1}", self.report.sent.payload_bytes_mean)) " bytes each."
                    }
                }
                @if !self.yardsticks.is_empty() { (self.yardsticks()) }
                h3 { "How often which length" }
                (chart(&axes, &[Layer::Bars { class: "bars", points: &binned, width }]))
                h3 { "Which rung was shortest" }
                div.share aria-hidden="true" {
                    @for (i, (_, share)) in rungs.iter().enumerate() {
                        @if *share > 0.0 { i class={ "c" (i) } style={ "width:" (format!("{:.2}", 100.0 * share)) "%" } {} }
                    }
                }
                div.keys {
                    @for (i, (name, share)) in rungs.iter().enumerate() {
                        @if *share > 0.0 { span { i class={ "c" (i) } {} (name) " " (format!("{:.1}", 100.0 * share)) " %" } }
                    }
                }
            }
        }
    }

    fn yardsticks(&self) -> Markup {
        let most = self.yardsticks.iter().map(|y| y.bytes_mean).fold(1e-9, f64::max);
        let best =
            self.yardsticks.iter().filter(|y| !y.is_ours).map(|y| y.bytes_mean).fold(f64::INFINITY, f64::min);
        let ours = self.yardsticks.iter().find(|y| y.is_ours);
        html! {
            h3 { "Beside classical coders, at the same bound on the same rows" }
            @if let Some(ours) = ours {
                @let saved = 100.0 * (1.0 - ours.bytes_mean / best);
                p {
                    @if saved >= 2.0 { (format!("{saved:.0}")) " % fewer bytes than the best of them." }
                    @else if saved > -2.0 { "As good as the best of them: a classical coder would do here." }
                    @else { (format!("{:.0}", -saved)) " % more bytes than the best of them: a classical coder would do better here." }
                }
            }
            div.rank {
                @for yard in self.yardsticks {
                    span { (yard.name) }
                    div class=(if yard.is_ours { "bar ours" } else { "bar" }) style={ "--w:" (format!("{:.4}", yard.bytes_mean / most)) } {
                        (format!("{:.2} B", yard.bytes_mean))
                    }
                }
            }
        }
    }

    pub(super) fn reconstruction(&self) -> Markup {
        html! {
            section {
                h2 { "What comes back" }
                p { "The most restless stretch of what was judged: dots are what the sensor measured, the line is what a server reads, and the band around it is the bound." }
                div.keys {
                    span { i.i-dots {} "measured" }
                    span { i.i-line {} "decoded" }
                    span { i.i-band {} "decoded ± bound" }
                }
                @for (channel, evaluation) in self.picture.channels.iter().zip(&self.report.evaluation.channels) {
                    h3 { (channel.name) @if !channel.unit.is_empty() { span.soft { ", " (channel.unit) } } }
                    (self.stretch(channel))
                    @let n = channel.errors.iter().sum::<usize>().max(1);
                    p.small {
                        "rms error " (format!("{:.4}", evaluation.rms_error)) " " (channel.unit) ", largest "
                        (format!("{:.4}", evaluation.max_error)) "; "
                        (format!("{:.0}", 100.0 * channel.n_exact as f64 / n as f64)) " % came back exactly."
                    }
                    @if channel.bound > 0.0 && channel.n_exact < n { (histogram(channel)) }
                }
            }
        }
    }

    fn stretch(&self, channel: &ChannelPicture) -> Markup {
        let measured: Vec<_> = channel.stretch.iter().map(|s| (s.t_ms as f64, s.measured)).collect();
        let decoded: Vec<_> = channel.stretch.iter().map(|s| (s.t_ms as f64, s.decoded)).collect();
        let band: Vec<_> = decoded
            .iter()
            .filter_map(|&(t, y)| y.map(|y| (t, y - channel.bound, y + channel.bound)))
            .collect();
        let values = || measured.iter().chain(&decoded).filter_map(|(_, y)| *y);
        let low = values().fold(f64::INFINITY, f64::min) - channel.bound;
        let high = values().fold(f64::NEG_INFINITY, f64::max) + channel.bound;
        let (Some(first), Some(last), true) = (measured.first(), measured.last(), low <= high) else {
            return html! { p.soft { "no readings in this stretch" } };
        };
        let x = (first.0, last.0);
        let label = format!("{} as measured and as decoded", channel.name);
        let axes = Axes { x, y: (low, high), x_text: &|t| time(t, x), label: &label };
        let gap = 1.5 * f64::from(self.picture.period_ms);
        chart(
            &axes,
            &[
                Layer::Band { class: "band", points: &band, gap },
                Layer::Line { class: "line", points: &decoded },
                Layer::Dots { class: "dots", points: &measured },
            ],
        )
    }

    pub(super) fn learning(&self) -> Markup {
        html! {
            section {
                h2 { "Learning" }
                p {
                    "Seed " (self.report.seed) ", lattice " (format!("{:.1}", self.report.lattice_divisor))
                    " times finer than the bound alone asks for. Tables are counted, not trained; what is trained is drawn here."
                }
                @if self.curves.is_empty() { p.soft { "No network was trained." } }
                @for (i, curve) in self.curves.iter().enumerate() { (loss(curve, i + 1)) }
                @if !self.curves.is_empty() { p.small.soft { "Whether a network goes into the bundle is decided by bytes on rows held back, not by its loss." } }
            }
        }
    }

    pub(super) fn air(&self) -> Markup {
        html! {
            section {
                h2 { "Frames and air" }
                p { "What one frame carries (header, time, code and tag in all), on the rows judged by; and the same filled to what LoRaWAN takes." }
                div.scroll {
                    table {
                        tr { th { "frames" } th.n { "samples each" } th.n { "bytes" } th.n { "bytes a reading" } th.n { "cut when full" } th.n { "by delay" } th.n { "by window" } th.n { "by gaps" } }
                        @for frames in &self.report.frames {
                            tr {
                                td { (kind(frames)) }
                                td.n { (format!("{:.1}", frames.samples_mean)) }
                                td.n { (format!("{:.1}", frames.frame_bytes_mean)) }
                                td.n { (format!("{:.2}", frames.bytes_per_reading)) }
                                td.n { (format!("{:.0} %", 100.0 * frames.cuts.full)) }
                                td.n { (format!("{:.0} %", 100.0 * frames.cuts.delay)) }
                                td.n { (format!("{:.0} %", 100.0 * frames.cuts.window)) }
                                td.n { (format!("{:.0} %", 100.0 * frames.cuts.gap)) }
                            }
                        }
                    }
                }
                h3 { "Time on the air over LoRa, and years on two AA cells" }
                div.scroll {
                    table {
                        tr { th { "frames" } @for sf in 7..=12 { th.n { "SF" (sf) } } }
                        @for frames in &self.report.frames {
                            tr {
                                td { (kind(frames)) }
                                @for at in &frames.lora {
                                    @if at.is_allowed {
                                        td.n { (format!("{:.0} ms", at.airtime_ms)) br; span.soft { @if at.is_within_duty_cycle { (years(at.battery_years)) " a" } @else { "too often" } } }
                                    } @else { td.n.no { "–" } }
                                }
                            }
                        }
                    }
                }
                p.small.soft { (self.assumptions) " An estimate, not a measurement on a board. On Wi-Fi the connection costs far more than these bytes." }
            }
        }
    }

    pub(super) fn device(&self) -> Markup {
        let e = &self.report.evaluation;
        html! {
            section {
                h2 { "On the device" }
                div.scroll {
                    table {
                        tr { td { "model, tables and weights" } td.n { (bytes(e.static_bytes as u64)) } }
                        tr { td { "RAM to encode: workspace, window, code" } td.n { (bytes(e.ram_bytes as u64)) } }
                        tr { td { "the bundle's file, report included" } td.n { (bytes(self.bundle_bytes as u64)) } }
                        tr { td { "longest wait of a reading" } td.n { (seconds(self.max_delay_ms.into())) } }
                    }
                }
            }
        }
    }
}

fn kind(frames: &FrameSummary) -> String {
    frames.fill_len.map_or("as windows come".into(), |len| format!("filled to {len} B"))
}

fn basis(basis: GridBasis) -> &'static str {
    match basis {
        GridBasis::SensorStep => "the sensor's own",
        GridBasis::SensorStepWithStrays => "the sensor's own, with strays beside it",
        GridBasis::StepOfAll => "finer than the sensor's, for strays",
        GridBasis::PartOfBound => "a part of the bound: no step was found",
        GridBasis::PartOfConvertedStep => "a part of the sensor's, which no decimal says",
    }
}
