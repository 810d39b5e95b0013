# What the server says of itself, and the queue as a list: pushing, paging, searching, deleting. No worker runs.

class SidekiqTest
  QUEUED = 120

  def server
    figures.part("server: INFO as Sidekiq reads it at start") do
      info = Sidekiq.respond_to?(:redis_info) ? Sidekiq.redis_info : Sidekiq.default_configuration.redis_info
      figures.holds("redis_version #{info["redis_version"]} is not too old", Gem::Version.new(info["redis_version"]) >= Gem::Version.new("6.2.0"))
      figures.holds("maxmemory_policy is one that loses no jobs", ["noeviction", ""].include?(info["maxmemory_policy"]))
      %w[uptime_in_days connected_clients used_memory_human used_memory_peak_human].each do |field|
        figures.holds("#{field}: #{info[field]}", !info[field].to_s.empty?)
      end
    end
  end

  def queue
    figures.part("queue: push, page, find_job, delete, clear, latency, sizes") do
      jids = Array.new(QUEUED) { CountJob.set(queue: "kept").perform_async("queue") }
      bulk = Sidekiq::Client.push_bulk("class" => CountJob, "queue" => "kept_bulk", "args" => Array.new(QUEUED) { ["queue"] })
      check_queue_sizes(jids, bulk)
      check_queue_search(jids)
      check_queue_deletion(jids)
      check_queue_clearing
    end
  end

  private

  def check_queue_sizes(jids, bulk)
    kept = Sidekiq::Queue.new("kept")
    figures.equal("Queue#size", kept.size, QUEUED)
    figures.equal("Queue.all", Sidekiq::Queue.all.map(&:name), %w[kept kept_bulk])
    figures.equal("Stats.queues", Sidekiq::Stats.new.queues, {"kept" => QUEUED, "kept_bulk" => QUEUED})
    figures.equal("Stats.enqueued", Sidekiq::Stats.new.enqueued, 2 * QUEUED)
    figures.holds("Queue#each goes through all pages, newest first", kept.map(&:jid) == jids.reverse)
    figures.holds("push_bulk keeps the order it was given", Sidekiq::Queue.new("kept_bulk").map(&:jid) == bulk.reverse)
    figures.between("Queue#latency", kept.latency, 0.0..60.0)
    figures.equal("latency of a queue that is not there", Sidekiq::Queue.new("nowhere").latency, 0)
  end

  def check_queue_search(jids)
    kept = Sidekiq::Queue.new("kept")
    figures.equal("Queue#find_job near the tail", kept.find_job(jids[3])&.jid, jids[3])
    figures.equal("Queue#find_job of what is not there", kept.find_job("0" * 24), nil)
    record = kept.find_job(jids[60])
    figures.equal("its class, arguments and queue", [record.klass, record.args, record.queue], ["CountJob", ["queue"], "kept"])
  end

  def check_queue_deletion(jids)
    kept = Sidekiq::Queue.new("kept")
    figures.equal("JobRecord#delete", kept.find_job(jids[60]).delete, true)
    figures.equal("size after it", kept.size, QUEUED - 1)
    figures.equal("deleting the same job again", Sidekiq::JobRecord.new(JSON.generate(raw_job("CountJob", "kept")), "kept").delete, false)
    doomed = (jids - [jids[60]]).each_slice(3).map(&:first)
    deleted = kept.count { |job| doomed.include?(job.jid) && job.delete }
    figures.equal("jobs deleted while going through the queue", deleted, doomed.size)
    figures.holds("the others are there, in order", queued_jids("kept") == (jids - doomed - [jids[60]]).reverse)
  end

  def check_queue_clearing
    Sidekiq::Queue.all.each(&:clear)
    figures.equal("sizes after Queue#clear", %w[kept kept_bulk].map { |name| Sidekiq::Queue.new(name).size }, [0, 0])
    figures.equal("Queue.all after it", Sidekiq::Queue.all.map(&:name), [])
    figures.equal("Stats.enqueued after it", Sidekiq::Stats.new.enqueued, 0)
  end
end
