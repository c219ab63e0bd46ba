// The recommendation for a tolerance, as sft_tradeoff/analysis/recommendation.py makes it.
//
// section: one table of sft_tradeoff/report/page/rule.py, which holds all statistics.
// tolerance: measure -> largest loss allowed.
const rule = {
  WITHIN: "within",
  EXCEEDS: "exceeds",
  CANNOT_TELL: "cannot tell",

  judge([, low, high], allowed) {
    if (high !== null && high <= allowed) return rule.WITHIN;
    return low !== null && low > allowed ? rule.EXCEEDS : rule.CANNOT_TELL;
  },

  // A run exceeds if one measure does; it is within only if all measures are.
  verdict(candidate, tolerance) {
    const limited = Object.keys(tolerance).filter((name) => name in candidate.losses);
    const found = limited.map((name) => rule.judge(candidate.losses[name], tolerance[name]));
    if (found.includes(rule.EXCEEDS)) return rule.EXCEEDS;
    const all = found.length > 0 && found.every((verdict) => verdict === rule.WITHIN);
    return all ? rule.WITHIN : rule.CANNOT_TELL;
  },

  // Number of rates before the first that is not within the tolerance.
  nWithin(method, tolerance) {
    const is = (candidate) => rule.verdict(candidate, tolerance) === rule.WITHIN;
    const first = method.candidates.findIndex((candidate) => !is(candidate));
    return first < 0 ? method.candidates.length : first;
  },

  // Position of the run that gains most, of those within; null if none has all scores.
  best(method, n, measure) {
    const runs = method.candidates.slice(0, n).map((run, i) => ({...run, i}));
    const complete = runs.filter((run) => run.complete);
    if (!complete.length) return null;
    const better = (a, b) => b.gain - a.gain || a.nll - b.nll || a.rate - b.rate;
    const most = [...complete].sort(better)[0];
    if (measure === "nll") return most.i;
    const equals = complete.filter((run) => !method.worse[most.i].includes(run.i));
    return equals.sort((a, b) => a.nll - b.nll || a.rate - b.rate)[0].i;
  },

  // Standard SFT, unless another method is better; without SFT the method that gains most.
  recommend(section, tolerance) {
    const methods = section.methods.map((method) => {
      const n = rule.nWithin(method, tolerance);
      const best = rule.best(method, n, section.measure);
      return {label: method.label, n, largest: n ? method.candidates[n - 1].rate : null, best};
    });
    const able = methods.flatMap((found, i) => (found.best === null ? [] : [i]));
    const at = (i) => ({method: i, candidate: methods[i].best});
    const first = (order, most) => order.reduce((a, b) => (most(b) > most(a) ? b : a));
    const sft = able.find((i) => methods[i].label === section.sft);
    if (sft === undefined) {
      const gain = (i) => section.methods[i].candidates[methods[i].best].gain;
      return {methods, chosen: able.length ? at(first(able, gain)) : null};
    }
    const others = able.filter((i) => i !== sft);
    const against = (i) => section.methods[i].against[methods[i].best][methods[sft].best];
    const better = others.filter((i) => against(i) && against(i)[1] >= others.length);
    return {methods, chosen: at(better.length ? first(better, (i) => against(i)[0]) : sft)};
  },
};
