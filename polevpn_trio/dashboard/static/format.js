// Numbers as people read them.

const STEPS = ["", "k", "M", "G", "T"];

function scaled(value, base, unit) {
  let step = 0;
  while (value >= base * 0.9995 && step < STEPS.length - 1) {
    value /= base;
    step += 1;
  }
  const digits = value >= 100 || step === 0 || value === 0 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${STEPS[step]}${unit}`;
}

// A rate in bytes per second, as networks count: in bits.
export function rate(bytes) {
  return bytes === null || bytes === undefined ? "–" : scaled(bytes * 8, 1000, "bit/s");
}

export function size(bytes) {
  return bytes === null || bytes === undefined ? "–" : scaled(bytes, 1000, "B");
}

export function count(number) {
  return number === null || number === undefined ? "–" : number.toLocaleString("en");
}

export function milliseconds(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const value = seconds * 1000;
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`;
}

export function share(part) {
  if (part === null || part === undefined) return "–";
  if (part === 0) return "0 %";
  const value = part * 100;
  if (value < 0.01) return "< 0.01 %";
  return `${value.toFixed(value < 0.1 ? 2 : value < 10 ? 1 : 0)} %`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const CLOCK_SECONDS = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

// When something was, by this machine's clock: with the day unless it was today.
export function moment(time, seconds = false) {
  const date = new Date(time * 1000);
  const clock = (seconds ? CLOCK_SECONDS : CLOCK).format(date);
  return date.toDateString() === new Date().toDateString() ? clock : `${DAY.format(date)}, ${clock}`;
}

export function plural(number, one, many) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
