# Sidekiq's execution metrics: counters by minute in hashes, histograms in bit fields.

class SidekiqTest
  METRICS_MINUTES = 60

  private

  # Workers write their metrics at each heartbeat, not when they stop, so this is asked for while they run.
  def check_metrics(klass, processed:, failed:)
    totals = -> { Sidekiq::Metrics::Query.new.top_jobs(minutes: METRICS_MINUTES).job_results[klass].totals }
    figures.reaches("metrics: #{klass} processed", processed) { totals.call["p"] }
    figures.equal("metrics: #{klass} failed", totals.call["f"], failed)
    result = Sidekiq::Metrics::Query.new.for_job(klass, minutes: METRICS_MINUTES).job_results[klass]
    figures.equal("metrics: the same by class", [result.totals["p"], result.totals["f"]], [processed, failed])
    figures.equal("metrics: sum of the histograms", result.hist.values.flatten.sum, processed - failed)
    figures.equal("metrics: sum of the minutes", result.series["p"].values.sum, processed)
    filtered = Sidekiq::Metrics::Query.new.top_jobs(class_filter: /\A#{klass}\z/, minutes: METRICS_MINUTES)
    figures.equal("metrics: classes by filter", filtered.job_results.keys, [klass])
  end
end
