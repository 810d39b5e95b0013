# The forms of the web interface: deleting, retrying, killing, one by one, by tick boxes and all at once. No worker runs,
# so that every figure stands where the form has left it.

class SidekiqTest
  private

  def check_forms
    check_forgery
    check_queue_forms
    check_cron_forms
    check_scheduled_forms
    check_retry_forms
    check_morgue_forms
  end

  # Opens a page for its token, sends a form, and checks the sizes it leaves: scheduled, retries, dead, in the queues.
  def submit(what, path, fields, from: nil, leaves:)
    @web.get(from || path[%r{\A/\w+}])
    answer = @web.post(path, fields)
    figures.equal("#{what}: status, then scheduled, retries, dead, queued", [answer.status, *set_sizes, Sidekiq::Stats.new.enqueued], [302, *leaves])
  end

  def sizes_now
    [*set_sizes, Sidekiq::Stats.new.enqueued]
  end

  # Returns the sizes with these differences.
  def with(scheduled: 0, retries: 0, dead: 0, queued: 0)
    sizes_now.zip([scheduled, retries, dead, queued]).map(&:sum)
  end

  def keys_of(set, count)
    set.first(count).map { |entry| "#{entry.score}-#{entry.jid}" }
  end

  def check_forgery
    before = sizes_now
    figures.equal("a form without its token", @web.forge("/morgue/all/delete", {}).status, 403)
    figures.equal("changes nothing", sizes_now, before)
  end

  def check_queue_forms
    job = Sidekiq::Queue.new("shown").find_job(@queued[40])
    submit("delete a job", "/queues/shown/delete", {"key_val" => job.value, "delete" => "Delete"}, from: "/queues/shown", leaves: with(queued: -1))
    figures.equal("it is that one", Sidekiq::Queue.new("shown").find_job(@queued[40]), nil)
    submit("clear the queue", "/queues/shown", {"delete" => "Delete"}, from: "/queues", leaves: with(queued: -(WEB_QUEUED - 1)))
    figures.holds("it is not listed any more", !@web.get("/queues").body.include?("queues/shown\""))
  end

  def check_cron_forms
    status = -> { Sidekiq::Cron::Job.find("shown_job")&.status }
    all = defined?(Sidekiq::Cron::Namespace) ? "/cron/namespaces/default/all" : "/cron/__all__"
    enqueue = defined?(Sidekiq::Cron::Namespace) ? "enqueue" : "enque"
    submit("enqueue the cron job", "#{cron_path}/#{enqueue}", {}, leaves: with(queued: 1))
    history = Sidekiq::Cron::Job.find("shown_job").jid_history_from_redis.map { |entry| entry["jid"] }
    figures.equal("its history", history, queued_jids("web_cron"))
    figures.holds("is on its page", page(cron_path).body.include?(history.first))
    submit("enqueue all cron jobs", "#{all}/#{enqueue}", {}, leaves: with(queued: 1))
    submit("disable the cron job", "#{cron_path}/disable", {}, leaves: with)
    figures.equal("its status", status.call, "disabled")
    submit("enable all cron jobs", "#{all}/enable", {}, leaves: with)
    figures.equal("its status", status.call, "enabled")
    submit("delete the cron job", "#{cron_path}/delete", {}, leaves: with)
    figures.equal("cron jobs left", [status.call, Sidekiq::Cron::Job.count], [nil, 0])
  end

  def check_scheduled_forms
    set = Sidekiq::ScheduledSet.new
    submit("delete three of the scheduled", "/scheduled", {"key" => keys_of(set, 3), "delete" => "Delete"}, leaves: with(scheduled: -3))
    submit("enqueue four of them", "/scheduled", {"key" => keys_of(set, 4), "add_to_queue" => "Add"}, leaves: with(scheduled: -4, queued: 4))
    submit("enqueue one from its page", "/scheduled/#{keys_of(set, 1).first}", {"add_to_queue" => "Add"}, leaves: with(scheduled: -1, queued: 1))
    submit("delete one from its page", "/scheduled/#{keys_of(set, 1).first}", {"delete" => "Delete"}, leaves: with(scheduled: -1))
    figures.equal("the rest are the first that were put off", set.map(&:jid).sort, @put_off.first(WEB_SCHEDULED - 9).sort)
  end

  def check_retry_forms
    set = Sidekiq::RetrySet.new
    submit("retry three", "/retries", {"key" => keys_of(set, 3), "retry" => "Retry"}, leaves: with(retries: -3, queued: 3))
    submit("kill two", "/retries", {"key" => keys_of(set, 2), "kill" => "Kill"}, leaves: with(retries: -2, dead: 2))
    submit("delete four", "/retries", {"key" => keys_of(set, 4), "delete" => "Delete"}, leaves: with(retries: -4))
    submit("retry one from its page", "/retries/#{keys_of(set, 1).first}", {"retry" => "Retry"}, leaves: with(retries: -1, queued: 1))
    submit("kill one from its page", "/retries/#{keys_of(set, 1).first}", {"kill" => "Kill"}, leaves: with(retries: -1, dead: 1))
    submit("delete one from its page", "/retries/#{keys_of(set, 1).first}", {"delete" => "Delete"}, leaves: with(retries: -1))
    left = set.size
    submit("kill all", "/retries/all/kill", {}, leaves: with(retries: -left, dead: left))
    refill(set, 10)
    submit("retry all", "/retries/all/retry", {}, leaves: with(retries: -10, queued: 10))
    refill(set, 10)
    submit("delete all", "/retries/all/delete", {}, leaves: with(retries: -10))
  end

  def check_morgue_forms
    set = Sidekiq::DeadSet.new
    submit("retry three of the dead", "/morgue", {"key" => keys_of(set, 3), "retry" => "Retry"}, leaves: with(dead: -3, queued: 3))
    submit("delete two of them", "/morgue", {"key" => keys_of(set, 2), "delete" => "Delete"}, leaves: with(dead: -2))
    left = set.size
    submit("retry all of them", "/morgue/all/retry", {}, leaves: with(dead: -left, queued: left))
    refill(set, 10)
    submit("retry one from its page", "/morgue/#{keys_of(set, 1).first}", {"retry" => "Retry"}, leaves: with(dead: -1, queued: 1))
    left = set.size
    submit("delete all of them", "/morgue/all/delete", {}, leaves: with(dead: -left))
  end

  def refill(set, count)
    at = Time.now.to_f + 7000
    count.times { |index| set.schedule(Time.at(at + index), raw_job("CountJob", "web", "web", retry_count: 1, error_class: "RuntimeError", error_message: "again")) }
  end
end
