# Sidekiq's web interface: every page with data on it, against what the API says, and every form.

require_relative "browser"

class SidekiqTest
  WEB_RETRIES = 60
  WEB_DEAD = 30
  WEB_SCHEDULED = 55
  WEB_QUEUED = 130
  # 7.3 wraps numbers into an element of their own.
  BEFORE_NUMBER = /(?:\s|<span[^>]*>)*/

  def web
    figures.part("web: every page, paging, search, every form, CSRF, quiet and stop from the page") do
      load_web
      # The long job; what fails; and no counting of what the forms move about, since nothing runs any more then.
      sidekiq_counts(processed: WEB_RETRIES + WEB_DEAD + 1, failed: WEB_RETRIES + WEB_DEAD) do
        workers = fill_pages
        check_pages
        check_busy_page(*workers)
      end
      check_forms
    ensure
      clear_all
    end
  end

  private

  def load_web
    require "sidekiq/web"
    require "sidekiq/cron/web"
    require "sidekiq/deploy" if sidekiq_seven?
    secret = SecureRandom.hex(64)
    require "rack/session" unless Rack::RELEASE.start_with?("2")
    @web = Browser.new(Rack::Builder.app do
      use Rack::Session::Cookie, secret: secret
      run Sidekiq::Web
    end)
  end

  # Puts something on every page, and leaves two workers with one job running.
  def fill_pages
    @queued = Array.new(WEB_QUEUED) { |index| CountJob.set(queue: "shown").perform_async("web #{index}") }
    @put_off = Array.new(WEB_SCHEDULED) { |index| CountJob.set(queue: "shown").perform_in(5000 + index, "web") }
    WEB_RETRIES.times { FailForLaterJob.set(queue: "web").perform_async("web_failing") }
    WEB_DEAD.times { DieAtOnceJob.set(queue: "web").perform_async("web_failing") }
    @busy = LongJob.set(queue: "web").perform_async("web_long")
    Sidekiq::Cron::Job.create(name: "shown_job", cron: "0 3 * * *", class: "CountJob", args: ["web"], queue: "web_cron", description: "at three")
    before = Sidekiq::Stats.new.processed
    workers = [start_worker("web-quiet", "-c", "5", "-q", "web"), start_worker("web-stop", "-c", "5", "-q", "web")]
    figures.reaches("retries and dead to show", [WEB_RETRIES, WEB_DEAD]) { [Sidekiq::RetrySet.new.size, Sidekiq::DeadSet.new.size] }
    figures.reaches("one job is running", [@busy]) { working_jids }
    # After this the figures of all pages stand still.
    eventually("the heartbeats have brought the counters") { Sidekiq::Stats.new.processed - before == WEB_RETRIES + WEB_DEAD }
    workers
  end

  # Opens a page and checks the figures that stand above every page.
  def page(path)
    opened = nil
    figures.agree("GET #{path.gsub(/\h{24}/, "JID")}: status and the seven figures") do
      opened = @web.get(path)
      stats = Sidekiq::Stats.new
      shown = %w[Processed Failed Busy Enqueued Retries Scheduled Dead].map { |name| opened.number(/id="txt#{name}"[^>]*>([\d,]+)</) }
      said = [stats.processed, stats.failed, stats.workers_size, stats.enqueued, stats.retry_size, stats.scheduled_size, stats.dead_size]
      [[opened.status, *shown], [200, *said]]
    end
    opened
  end

  def check_pages
    check_dashboard
    check_queue_pages
    check_set_pages("/scheduled", Sidekiq::ScheduledSet.new)
    check_set_pages("/retries", Sidekiq::RetrySet.new)
    check_set_pages("/morgue", Sidekiq::DeadSet.new)
    check_metrics_pages if sidekiq_seven? && @finished["bulk"]
    check_cron_pages
    check_assets
  end

  def check_dashboard
    home = page("/")
    figures.equal("the server's version on it", home.body[/id="redis_version"[^>]*>\s*([^<\s]+)/, 1] || home.body[/redis_version[^>]*>\s*([\d.]+)/, 1], wire.info["redis_version"])
    today = home.all(/data-processed="([^"]+)"/).first || home.all(/id="history-chart"[^>]*>(.*?)</m).first
    figures.holds("its history has today's figure", today.to_s.include?(Sidekiq::Stats::History.new(1).processed.values.first.to_s))
    page("/?days=180")
    figures.equal("HEAD /", @web.head("/").status, 200)
    figures.equal("GET /dashboard/stats sends to /stats", @web.get("/dashboard/stats").leads_to, "/stats")
    check_stats_page
    figures.equal("GET /stats/queues", JSON.parse(@web.get("/stats/queues").body), wire.call("SMEMBERS", "queues").to_h { |name| [name, wire.call("LLEN", "queue:#{name}")] })
    figures.equal("GET of a page that is not there", @web.get("/nowhere").status, 404)
  end

  def check_stats_page
    figures.agree("GET /stats") do
      api = Sidekiq::Stats.new
      [JSON.parse(@web.get("/stats").body)["sidekiq"].except("default_latency"),
       {"processed" => api.processed, "failed" => api.failed, "busy" => 1 + busy_of_killed, "processes" => api.processes_size, "enqueued" => WEB_QUEUED,
        "scheduled" => WEB_SCHEDULED, "retries" => WEB_RETRIES, "dead" => WEB_DEAD}]
    end
    figures.equal("its server's version", JSON.parse(@web.get("/stats").body)["redis"]["redis_version"], wire.info["redis_version"])
  end

  def check_queue_pages
    list = page("/queues")
    figures.equal("size of the queue in the list", list.number(%r{queues/shown">shown</a>.*?<td[^>]*>#{BEFORE_NUMBER}([\d,]+)}m), WEB_QUEUED)
    forward = collect_pages("/queues/shown", WEB_QUEUED) { |shown| shown.all(/<tr title="(\h{24})"/) }
    figures.holds("the pages of the queue, newest first", forward == @queued.reverse)
    backward = collect_pages("/queues/shown?direction=asc", WEB_QUEUED) { |shown| shown.all(/<tr title="(\h{24})"/) }
    figures.holds("the other way round", backward == @queued)
    figures.equal("the queue's size on its page", page("/queues/shown").number(/badge[^>]*>#{BEFORE_NUMBER}([\d,]+)</), WEB_QUEUED)
  end

  # Goes through the pages of a list or set and returns what the block finds on them.
  def collect_pages(path, size)
    pages = (size.to_f / PAGE_SIZE).ceil
    (1..pages).flat_map { |number| yield page("#{path}#{path.include?("?") ? "&" : "?"}page=#{number}") }
  end

  # Keys of entries are their scores and ids; each has a page of its own.
  def check_set_pages(path, set)
    entries = set.map { |entry| ["#{entry.score}-#{entry.jid}", entry] }
    # The API goes from the latest; so does the page of the dead, the others from the earliest.
    keys = path == "/morgue" ? entries.map(&:first) : entries.map(&:first).reverse
    shown = collect_pages(path, keys.size) { |opened| opened.all(/name=["']key\[\]["'] value=["']([^"']+)["']/) }
    figures.holds("the pages of #{path} show all #{keys.size} keys in order", shown == keys)
    key, entry = entries[entries.size / 2]
    opened = page("#{path}/#{key}")
    figures.holds("its own page shows id, class#{" and error" if entry["error_message"]}", [entry.jid, entry.klass, *entry["error_message"]].all? { |text| opened.body.include?(text) })
    figures.equal("GET #{path} of a key that is not there leads to", @web.get("#{path}/12345.678-#{"0" * 24}").leads_to, path)
    check_search(path, entry, keys.size) if sidekiq_seven?
  end

  def check_search(path, entry, size)
    found = ->(word) { page("#{path}?substr=#{word}").all(/name=["']key\[\]["'] value=["']([^"']+)["']/) }
    figures.equal("search by id finds", found.call(entry.jid).map { |key| key.split("-").last }, [entry.jid])
    figures.equal("search by class finds", found.call(entry.klass).uniq.size, size)
    figures.equal("search for nothing that is there finds", found.call("nothing-like-this").size, 0)
  end

  def check_metrics_pages
    figures.reaches("metrics: failures of FailForLaterJob", WEB_RETRIES) { metrics_totals("FailForLaterJob")["f"] }
    Sidekiq::Deploy.mark!("compat-mark")
    figures.equal("marks of deploys", Sidekiq::Metrics::Query.new.top_jobs.marks.map(&:label), ["compat-mark"])
    all = page("/metrics")
    figures.holds("the mark is on it", all.body.include?("compat-mark"))
    cells = ->(name) { all.body[%r{metrics/#{name}\?period=[^"]*">#{name}</a>.*?</tr>}m].to_s.scan(/<td[^>]*>#{BEFORE_NUMBER}([\d,.]+)/).flatten }
    figures.equal("successes and failures on it", %w[BulkJob FailForLaterJob].map { |name| cells.call(name).first(2).map { |text| text.delete(",").to_i } },
                  [[@finished["bulk"].size, 0], [0, WEB_RETRIES]])
    figures.equal("classes on it, filtered", page("/metrics?substr=bulk&period=2h").all(/class="metrics-swatch"\s+value="(\w+)"/), ["BulkJob"])
    one = page("/metrics/BulkJob?period=1h")
    series = JSON.parse(one.all(%r{id="hist-totals-chart">\s*(.*?)\s*</canvas>}m).first)["series"]
    figures.equal("sum of its histogram", series.sum, @finished["bulk"].size)
  end

  def metrics_totals(name)
    Sidekiq::Metrics::Query.new.for_job(name).job_results[name].totals
  end

  def check_cron_pages
    list = page("/cron")
    figures.holds("the cron job is on it", list.body.include?("shown_job"))
    one = page(cron_path)
    figures.holds("its schedule is on its page", one.body.include?("0&nbsp;3&nbsp;*&nbsp;*&nbsp;*"))
    page("/cron/namespaces/default") if defined?(Sidekiq::Cron::Namespace)
  end

  def cron_path
    defined?(Sidekiq::Cron::Namespace) ? "/cron/namespaces/default/jobs/shown_job" : "/cron/shown_job"
  end

  def check_assets
    files = Dir[File.join(Sidekiq::Web::ASSETS, "*", "*")].select { |file| File.file?(file) }
    served = files.count { |file| @web.get(file.delete_prefix(Sidekiq::Web::ASSETS)).then { |answer| answer.status == 200 && answer.body.b == File.binread(file) } }
    figures.equal("stylesheets, scripts and images served", served, files.size)
  end

  # The signals go through the server: the page leaves them in a list, the worker's heartbeat takes them out.
  def check_busy_page(to_quiet, to_stop)
    opened = page("/busy")
    figures.holds("the processes and the running job are on it", [to_quiet, to_stop].all? { |worker| opened.body.include?(":#{worker.pid}") } && opened.body.include?(@busy))
    identities = [to_quiet, to_stop].map { |worker| process_of(worker).identity }
    figures.equal("quiet by the page", @web.post("/busy", {"identity" => identities[0], "quiet" => "1"}).status, 302)
    figures.reaches("the worker becomes quiet", true) { process_of(to_quiet).stopping? }
    figures.holds("and the page says so", page("/busy").body.include?("quiet</span>"))
    tell("web_long", "released")
    finished_once("web_long", [@busy], what: "long jobs finished")
    figures.equal("stop by the page", @web.post("/busy", {"identity" => identities[1], "stop" => "1"}).status, 302)
    figures.equal("the stopped worker's exit code", to_stop.wait, 0)
    @web.get("/busy")
    figures.equal("stop all by the page", @web.post("/busy", {"stop" => "1"}).status, 302)
    figures.equal("the other worker's exit code", to_quiet.wait, 0)
  end

  def clear_all
    [Sidekiq::RetrySet, Sidekiq::DeadSet, Sidekiq::ScheduledSet].each { |set| set.new.clear }
    Sidekiq::Queue.all.each(&:clear)
  end
end
