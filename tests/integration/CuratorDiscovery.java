// Apache Curator's service discovery, told by lines on standard input what to do.
//
//   java -cp ... CuratorDiscovery.java HOST:PORT BASE
//
// At the start it registers instances of the service "theirs" in every shape that Curator writes,
// and one of the service "both", and says "ready". Then, per line:
//
//   read SERVICE KIND   print each instance that a reader of this kind sees, "end" after the last:
//                       "typed" (payloads of one class), "untyped" (any), "none" (no payload),
//                       "strict" (no field that it does not know, as before Curator 5)
//   retire              unregister the instance of "both", "end" when it is done

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryOneTime;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceInstanceBuilder;
import org.apache.curator.x.discovery.UriSpec;
import org.apache.curator.x.discovery.details.InstanceSerializer;
import org.apache.curator.x.discovery.details.JsonInstanceSerializer;

public class CuratorDiscovery {
  public static class Payload {
    public String zone = "west";
    public int cores = 8;
  }

  /** Reads as Curator did before it learnt to pass over unknown fields. */
  private static class Strict implements InstanceSerializer<Void> {
    private final ObjectMapper mapper = new ObjectMapper();

    @Override
    public byte[] serialize(ServiceInstance<Void> instance) throws Exception {
      return mapper.writeValueAsBytes(instance);
    }

    @Override
    public ServiceInstance<Void> deserialize(byte[] data) throws Exception {
      return mapper.readValue(data, new TypeReference<ServiceInstance<Void>>() {});
    }
  }

  private static final String SERVICE = "theirs";
  private static CuratorFramework client;
  private static String base;
  private static Runnable retire;

  public static void main(String[] args) throws Exception {
    client = CuratorFrameworkFactory.newClient(args[0], 4000, 4000, new RetryOneTime(100));
    client.start();
    base = args[1];
    registerAll();
    say("ready");
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String[] words = line.split(" ");
      if (words[0].equals("retire")) retire.run();
      else read(words[1], words[2]);
      say("end");
    }
  }

  private static void registerAll() throws Exception {
    ServiceDiscovery<Payload> typed = open(Payload.class, serializer(Payload.class));
    typed.registerService(instance(Payload.class, "plain").port(8080).build());
    typed.registerService(
        instance(Payload.class, "typed").port(8081).payload(new Payload()).build());
    typed.registerService(instance(Payload.class, "secure").sslPort(8443).build());
    typed.registerService(
        instance(Payload.class, "spec")
            .port(8082)
            .uriSpec(new UriSpec("{scheme}://{address}:{port}"))
            .build());
    ServiceInstance<Payload> both =
        instance(Payload.class, "curator").name("both").port(8086).build();
    typed.registerService(both);
    retire = () -> unregister(typed, both);
    ServiceDiscovery<Object> untyped = open(Object.class, serializer(Object.class));
    untyped.registerService(
        instance(Object.class, "map").port(8083).payload(new HashMap<>(Map.of("weight", "2.5"))).build());
    untyped.registerService(instance(Object.class, "text").port(8084).payload("words").build());
    // Not in the way that readers before 5.0 understand, which knows no `enabled`.
    ServiceDiscovery<Void> newer =
        open(Void.class, new JsonInstanceSerializer<>(Void.class, false));
    newer.registerService(instance(Void.class, "disabled").port(8085).enabled(false).build());
  }

  private static <T> void unregister(ServiceDiscovery<T> from, ServiceInstance<T> instance) {
    try {
      from.unregisterService(instance);
    } catch (Exception error) {
      say("error " + error);
    }
  }

  private static <T> ServiceInstanceBuilder<T> instance(Class<T> payload, String id)
      throws Exception {
    return ServiceInstance.<T>builder().name(SERVICE).id(id).address("10.1.0.1");
  }

  private static <T> InstanceSerializer<T> serializer(Class<T> payload) {
    return new JsonInstanceSerializer<>(payload);
  }

  private static <T> ServiceDiscovery<T> open(Class<T> payload, InstanceSerializer<T> serializer)
      throws Exception {
    ServiceDiscovery<T> made =
        ServiceDiscoveryBuilder.builder(payload)
            .client(client)
            .basePath(base)
            .serializer(serializer)
            .build();
    made.start();
    return made;
  }

  private static void read(String service, String kind) throws Exception {
    switch (kind) {
      case "typed" -> print(open(Payload.class, serializer(Payload.class)), service);
      case "untyped" -> print(open(Object.class, serializer(Object.class)), service);
      case "none" -> print(open(Void.class, serializer(Void.class)), service);
      default -> print(open(Void.class, new Strict()), service);
    }
  }

  private static <T> void print(ServiceDiscovery<T> reader, String service) {
    try {
      List<ServiceInstance<T>> found = new ArrayList<>(reader.queryForInstances(service));
      found.sort(Comparator.comparing(ServiceInstance::getId));
      for (ServiceInstance<T> each : found) {
        say(
            String.join(
                " ",
                each.getId(),
                each.getName(),
                each.getAddress(),
                String.valueOf(each.getPort()),
                String.valueOf(each.getSslPort()),
                String.valueOf(each.isEnabled()),
                String.valueOf(each.getServiceType()),
                String.valueOf(each.getPayload())));
      }
    } catch (Exception error) {
      say("error " + error.getClass().getSimpleName());
    }
  }

  private static void say(String text) {
    System.out.println(text);
    System.out.flush();
  }
}
